//! The running instance's side of the control socket.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::{Control, MAX_LINE, Reply, Request, answer};

/// A client that says nothing for so long is let go.
const IDLE: Duration = Duration::from_secs(60);

/// Clients at once.
const CLIENTS: usize = 16;

/// The one instance of a data folder: holds its lock and its control socket, and gives both up when dropped.
#[derive(Debug)]
pub struct Claim {
    socket: PathBuf,
    listener: UnixListener,
    _lock: File,
}

/// Why the data folder could not be claimed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// A second instance.
    #[error("another instance of isthmus runs on {0}: stop it first, or give this one a data_dir of its own")]
    Running(PathBuf),
    /// The folder or the socket.
    #[error("{path}: {source}: expected a folder that the gateway's user can write to (data_dir)")]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl Claim {
    /// Claims a data folder for this process: before anything else is opened there, and before attaching. The folder is made when missing.
    /// Must be called within a runtime.
    pub fn new(data_dir: &Path) -> Result<Self, ClaimError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| ClaimError::Folder { path, source }
        };
        make_folder(data_dir).map_err(at(data_dir))?;
        let lock_file = data_dir.join("isthmus.lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&lock_file).map_err(at(&lock_file))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ClaimError::Running(data_dir.to_owned())),
            Err(TryLockError::Error(e)) => return Err(at(&lock_file)(e)),
        }
        let socket = data_dir.join("control.sock");
        let listener = bind(&socket).map_err(at(&socket))?;
        Ok(Self { socket, listener, _lock: lock })
    }

    /// Answers until `stop`; then lets requests in progress end.
    pub async fn serve(self, control: Arc<dyn Control>, stop: CancellationToken) {
        let tasks = TaskTracker::new();
        let clients = Arc::new(Semaphore::new(CLIENTS));
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    warn!(%error, "the control socket did not accept a client");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            // More clients than that: the connection is closed, and the client says so.
            let Ok(permit) = Arc::clone(&clients).try_acquire_owned() else { continue };
            let (control, stop) = (Arc::clone(&control), stop.clone());
            tasks.spawn(async move {
                if let Err(error) = converse(stream, control.as_ref(), &stop).await {
                    debug!(%error, "a client of the control socket went away");
                }
                drop(permit);
            });
        }
        tasks.close();
        tasks.wait().await;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // The lock goes with its file; a socket that stays behind would only be replaced at the next start.
        if let Err(error) = std::fs::remove_file(&self.socket) {
            debug!(%error, "the control socket was gone already");
        }
    }
}

fn make_folder(data_dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o750).create(data_dir)
}

/// Binds under another name and moves it into place, so that nobody ever meets the socket with loose permissions. What lies there is stale: we
/// hold the lock.
fn bind(socket: &Path) -> io::Result<UnixListener> {
    let fresh = socket.with_extension("new");
    for path in [&fresh, socket] {
        match std::fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    let listener = UnixListener::bind(&fresh)?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&fresh, socket)?;
    Ok(listener)
}

async fn converse(stream: UnixStream, control: &dyn Control, stop: &CancellationToken) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    loop {
        let mut line = Vec::new();
        let mut bounded = (&mut read).take(MAX_LINE as u64 + 1);
        let got = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            got = tokio::time::timeout(IDLE, bounded.read_until(b'\n', &mut line)) => got,
        };
        match got {
            Err(_) | Ok(Ok(0)) => return Ok(()),
            Ok(Err(e)) => return Err(e),
            Ok(Ok(_)) => {}
        }
        let (reply, last) = if line.len() > MAX_LINE {
            (Reply::Error(format!("a request is at most {MAX_LINE} bytes long")), true)
        } else {
            (reply(control, &line).await, false)
        };
        let mut bytes = serde_json::to_vec(&reply).map_err(io::Error::other)?;
        bytes.push(b'\n');
        write.write_all(&bytes).await?;
        if last {
            return Ok(());
        }
    }
}

async fn reply(control: &dyn Control, line: &[u8]) -> Reply {
    let request: Request = match serde_json::from_slice(line) {
        Ok(request) => request,
        Err(e) => return Reply::Error(format!("not a request that this version knows: {e}")),
    };
    match answer(control, request).await {
        Ok(value) => Reply::Ok(value),
        Err(sentence) => Reply::Error(sentence),
    }
}
