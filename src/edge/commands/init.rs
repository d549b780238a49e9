//! `init`: make a data directory and print its site id.

use super::{exit, fail, print};
use crate::edge::options::Options;
use crate::edge::share;
use crate::engine::share::ShareFault;

pub(super) fn init(options: &Options, new_id: bool) -> i32 {
    let path = options.data_dir.display();
    match share::init(&options.data_dir, new_id, options.require_network_share) {
        Ok(found) if options.site.is_some_and(|wanted| wanted != found) => {
            let why = format!("{path} is of site {found}, not of the one that --site-id names");
            fail(exit::CONFIGURATION, &why)
        }
        Ok(site) => print(&format!("{site}\n")),
        Err(error) => {
            let code = match error.fault {
                ShareFault::Missing
                | ShareFault::Newer
                | ShareFault::Denied
                | ShareFault::ReadOnly => exit::CONFIGURATION,
                ShareFault::NoSpace | ShareFault::Stale | ShareFault::Other => exit::TEMPORARY,
            };
            fail(code, &format!("{path}: {error}"))
        }
    }
}
