//! A server that cannot show who it is gets nothing, and people read why.

use crate::support::certificates::Certificate;
use crate::{Scene, plan, tries};

#[test]
fn a_wrong_certificate_is_refused_and_named() {
    let scene = Scene::start(&plan());
    for (certificate, reason) in [
        (Certificate::UnknownIssuer, "certificate from an unknown issuer (see cloud.ca_file)"),
        (Certificate::OtherHost, "certificate for another host name, shown by localhost"),
        (Certificate::Expired, "certificate expired (this gateway's clock says 20"),
    ] {
        scene.receiver.show(certificate);
        let mark = scene.mark();
        let sent = scene.post(3);
        scene.wait_reason(reason);
        assert!(scene.has_condition("cloud-unreachable"), "{certificate:?}");
        assert_eq!(tries(&scene.receiver.ledger(), mark).len(), 0, "{certificate:?}: not a word");
        scene.receiver.show(Certificate::Good);
        scene.recover();
        scene.wait_delivered(sent);
    }
    assert_eq!((scene.declined().len(), scene.receiver.ledger().repeated_records), (0, 0));
    scene.judge();
}
