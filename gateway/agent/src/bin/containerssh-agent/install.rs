//! Into a volume, for a container of any image to run it from.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

const NAME: &str = "containerssh-agent";
/// Read and run by any user of the image, written by none.
const MODE: u32 = 0o555;

/// Copies this program to `directory/containerssh-agent`, whole or not at all.
pub(crate) fn run(directory: &Path) -> io::Result<()> {
    let partial = directory.join(format!(".{NAME}"));
    // A container that was started anew finds what it left.
    match fs::remove_file(&partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut own = File::open("/proc/self/exe")?;
    let mut copy = File::options().write(true).create_new(true).mode(MODE).open(&partial)?;
    io::copy(&mut own, &mut copy)?;
    // The mode at creation is what the umask left of it.
    copy.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(MODE))?;
    drop(copy);
    fs::rename(partial, directory.join(NAME))
}
