/* Where a static program's unwind tables are. gcc 12's unwinder asks glibc for them; musl knows only
 * dl_iterate_phdr(3). glibc's headers declare what is asked for, and musl lays it out alike. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>

static int find_tables(struct dl_phdr_info *program, size_t size, void *found)
{
    (void)size;
    for (int i = 0; i < program->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &program->dlpi_phdr[i];
        if (segment->p_type == PT_GNU_EH_FRAME) {
            ((struct dl_find_object *)found)->dlfo_eh_frame = (void *)(program->dlpi_addr + segment->p_vaddr);
            return 1;
        }
    }
    return 0;
}

/* There is one object, the program: any address is taken for one of its own. */
int _dl_find_object(void *address, struct dl_find_object *found)
{
    (void)address;
    return dl_iterate_phdr(find_tables, found) ? 0 : -1;
}
