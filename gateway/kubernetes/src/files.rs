//! Writes files from authentication into the guest, before its first program.

use containerssh_backend::{BackendError, FileValue};
use tokio::time::timeout;

use crate::codes::code;
use crate::exec::{Finished, Target, is_missing_program, run};
use crate::settings::Timeouts;
use crate::shim;

/// `$1` is the path, `$2` the size. Nobody else may read the file; a file that is there already is replaced, for it would
/// keep its own mode. The count says whether all of it has arrived.
///
/// Both outputs stay as they are: containerd closes the input of what closes one (see [`crate::shim`]). And the size says where
/// the content ends, not the end of the input, for the cluster may lose the status of what ends just then.
const SCRIPT: &str = r#"umask 077
directory=${1%/*}
[ -z "$directory" ] || mkdir -p "$directory" || exit 1
rm -f "$1" && head -c "$2" > "$1" || exit 1
size=$(wc -c < "$1") && [ "$size" -eq "$2" ] || { echo "$size of $2 bytes were stored"; exit 1; }"#;

/// Writes one file. Its content and its parent directories come from authentication; the content is never logged.
pub(crate) async fn write(
    target: &Target,
    path: &str,
    file: &FileValue,
    timeouts: &Timeouts,
) -> Result<(), BackendError> {
    let failed = |reason: String| {
        BackendError::StartFailed(format!("The file {path:?} could not be written: {reason}"))
    };
    if !path.starts_with('/') || path.ends_with('/') || path.contains('\0') {
        return Err(failed("authentication must name it by an absolute path".to_owned()));
    }
    let writing = run(target, argv(path, file.content.len()), Some(file.content.clone()));
    match timeout(timeouts.command_start, writing).await {
        Ok(Ok(Finished { code: 0, .. })) => {
            tracing::debug!(code = code::KUBERNETES_FILE_WRITE, podName = %target.pod, path, "A file was written");
            Ok(())
        }
        Ok(Ok(Finished { code, output })) => {
            let said = String::from_utf8_lossy(&output);
            Err(failed(format!("exit status {code}: {}", said.trim())))
        }
        Ok(Err(BackendError::ProgramFailed(message))) if is_missing_program(&message, shim::SHELL) => {
            Err(failed(format!("it takes an image with {}, mkdir, rm, head and wc", shim::SHELL)))
        }
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed("it took too long".to_owned())),
    }
}

fn argv(path: &str, size: usize) -> Vec<String> {
    [shim::SHELL, "-c", SCRIPT, "containerssh", path, &size.to_string()].map(str::to_owned).into()
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;
    use std::process::{Command, Stdio};

    use super::*;

    fn store(path: &str, content: &[u8], claimed: usize) -> (Option<i32>, String) {
        let argv = argv(path, claimed);
        let mut child = Command::new(&argv[0])
            .args(&argv[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(content).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    }

    #[test]
    fn a_file_is_stored_whole_for_its_owner_alone_and_replaces_another() {
        let directory = std::env::temp_dir().join(format!("containerssh-files-{}", std::process::id()));
        let path = directory.join("a b'$x").join("file");
        let name = path.to_str().unwrap();
        for content in [&b"first"[..], &[0, 255, b'\n'], b""] {
            assert_eq!(store(name, content, content.len()), (Some(0), String::new()));
            assert_eq!(std::fs::read(&path).unwrap(), content);
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        }
        let (code, said) = store(name, b"half", 8);
        assert_eq!(code, Some(1));
        assert!(said.contains("4 of 8 bytes"), "{said}");
        let (code, said) = store(&format!("{name}/below-a-file"), b"", 0);
        assert!(code == Some(1) && !said.is_empty());
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[tokio::test]
    async fn a_relative_path_is_refused() {
        let target = crate::testing::target();
        let file = FileValue { content: "x".into(), sensitive: true };
        for path in ["relative", "", "/directory/", "/nul\0"] {
            let error = write(&target, path, &file, &Timeouts::default()).await.unwrap_err();
            assert!(error.to_string().contains("absolute path"), "{error}");
        }
    }
}
