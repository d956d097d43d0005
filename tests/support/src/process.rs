//! Child processes that never outlive the test that started them.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;

/// A child in a process group of its own; dropping it kills the group and shows the end of its log (which a test runner
/// shows only for a test that failed).
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    child: Child,
    pid: Pid,
    log: PathBuf,
    ended: bool,
    _guard: Guarded,
}

impl Process {
    /// Starts `command`; both its outputs are appended to `log`. Find the program with [`program`] first.
    pub fn spawn(name: &'static str, command: &mut Command, log: &Path) -> Result<Self> {
        let open = || OpenOptions::new().create(true).append(true).open(log).context("opening the log");
        command.stdin(Stdio::null()).stdout(open()?).stderr(open()?).process_group(0);
        Self::adopt(name, command, log)
    }

    /// The same for a command whose input and outputs the caller has arranged; the caller takes them by [`Process::child`].
    pub fn adopt(name: &'static str, command: &mut Command, log: &Path) -> Result<Self> {
        let child = command.process_group(0).spawn().with_context(|| format!("starting {name}: {command:?}"))?;
        let pid = Pid::from_child(&child);
        let guard = Guarded::new(&format!("kill -9 -- -{}", pid.as_raw_nonzero()))?;
        Ok(Self { name, child, pid, log: log.to_owned(), ended: false, _guard: guard })
    }

    /// Its process id, which is also that of its group.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The child, to take its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Where its output goes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// An error that tells how it ended, if it has ended.
    pub fn check(&mut self) -> Result<()> {
        match self.child.try_wait().context("looking after a child")? {
            None => Ok(()),
            Some(status) => {
                self.ended = true;
                bail!("{} ended ({status}):\n{}", self.name, tail(&self.log, 30))
            }
        }
    }

    /// SIGKILL to the whole group, then waits for the child.
    pub fn kill(&mut self) {
        if !self.ended {
            let _ = kill_process_group(self.pid, Signal::KILL);
            let _ = self.child.wait();
            self.ended = true;
        }
    }

    /// Sends `signal` to the child alone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.pid, signal).with_context(|| format!("signalling {}", self.name))
    }

    /// SIGTERM, then waits for the end. An error (and SIGKILL) if it takes longer than `within`.
    pub async fn stop(&mut self, within: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait(within).await
    }

    /// Waits for the child to end by itself. An error (and SIGKILL) if it takes longer than `within`.
    pub async fn wait(&mut self, within: Duration) -> Result<ExitStatus> {
        let end = tokio::time::Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait()? {
                // What it started and left behind in its group goes with it.
                let _ = kill_process_group(self.pid, Signal::KILL);
                self.ended = true;
                return Ok(status);
            }
            if tokio::time::Instant::now() > end {
                self.kill();
                bail!("{} did not end within {within:?}:\n{}", self.name, tail(&self.log, 30));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        show_tail(self.name, &self.log, 25);
    }
}

/// Prints the end of a log to the test's output.
#[allow(clippy::print_stderr, reason = "the test's own output")]
pub fn show_tail(name: &str, log: &Path, lines: usize) {
    let text = tail(log, lines);
    if !text.is_empty() {
        eprintln!("--- end of {} ({name}):\n{text}", log.display());
    }
}

/// The last lines of a file; empty if it cannot be read.
pub fn tail(log: &Path, lines: usize) -> String {
    let text = String::from_utf8_lossy(&std::fs::read(log).unwrap_or_default()).into_owned();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// The full path of a program, looked for in PATH and in `more` folders; else an error that names the Debian package.
pub fn program(name: &str, package: &str, more: &[&str]) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let standard = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from);
    let found = std::env::split_paths(&path)
        .chain(more.iter().map(PathBuf::from))
        .chain(standard)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file());
    found.with_context(|| format!("`{name}` is not installed: apt-get install {package}"))
}

/// Python with these modules of `tests/requirements.txt` (with commas between): the one that `tests/run` makes, else the system's.
pub async fn python(modules: &str) -> Result<PathBuf> {
    let made = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/venv/bin/python");
    if made.exists() {
        return Ok(made);
    }
    let found = program("python3", "python3", &[])?;
    let probe = run(Command::new(&found).args(["-c", &format!("import {modules}")])).await;
    probe.with_context(|| {
        format!("Python has no {modules}: run tests/run once, or pip install -r tests/requirements.txt")
    })?;
    Ok(found)
}

/// Runs a command to its end; an error shows what it printed.
pub async fn run(command: &mut Command) -> Result<String> {
    let shown = format!("{command:?}");
    let output = tokio::process::Command::from(std::mem::replace(command, Command::new("true")))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("starting {shown}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("{shown}: {}\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(text)
}

/// A temporary folder that servers running as other users may enter; removed on drop, also if the test process is killed.
#[derive(Debug)]
pub struct Folder {
    folder: TempDir,
    _guard: Guarded,
}

impl Folder {
    /// Creates it.
    pub fn new(name: &str) -> Result<Self> {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::Builder::new().prefix(&format!("isthmus-{name}-")).tempdir()?;
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))?;
        let guard = Guarded::new(&format!("rm -rf -- '{}'", folder.path().display()))?;
        Ok(Self { folder, _guard: guard })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The path of something in it.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path().join(name)
    }

    /// Writes a file in it; folders on the way are made.
    pub fn write(&self, name: impl AsRef<Path>, text: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }

    /// Gives everything in it to a system user, where we are root.
    pub async fn give_to(&self, user: &str) -> Result<()> {
        if rustix::process::geteuid().is_root() {
            run(Command::new("chown").arg("-R").arg(user).arg(self.path())).await?;
        }
        Ok(())
    }
}

/// A command that the guard process runs if this process ends without dropping this value.
#[derive(Debug)]
pub(crate) struct Guarded {
    id: u64,
}

impl Guarded {
    pub(crate) fn new(command: &str) -> Result<Self> {
        let mut guard = guard().lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        guard.next += 1;
        let id = guard.next;
        guard.tell(&format!("+ {id} {command}\n"))?;
        Ok(Self { id })
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let mut guard = guard().lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let _ = guard.tell(&format!("- {}\n", self.id));
    }
}

#[derive(Default)]
struct Guard {
    next: u64,
    child: Option<Child>,
}

/// Reads commands to be run at the end from its input; the input ends when the test process does, however it ends.
const GUARD: &str = r#"declare -A todo
while read -r what id command; do
  if [ "$what" = + ]; then todo[$id]=$command; else unset "todo[$id]"; fi
done
for id in $(printf '%s\n' "${!todo[@]}" | sort -rn); do eval "${todo[$id]}"; done >/dev/null 2>&1"#;

impl Guard {
    fn tell(&mut self, line: &str) -> Result<()> {
        if self.child.is_none() {
            let null = || File::options().write(true).open("/dev/null");
            let mut command = Command::new(program("bash", "bash", &[])?);
            command.args(["-c", GUARD]).stdin(Stdio::piped()).stdout(null()?).stderr(null()?).process_group(0);
            self.child = Some(command.spawn().context("starting the guard process")?);
        }
        let input = self.child.as_mut().and_then(|child| child.stdin.as_mut()).context("the guard has no input")?;
        input.write_all(line.as_bytes()).context("telling the guard process")
    }
}

fn guard() -> &'static Mutex<Guard> {
    static GUARD: OnceLock<Mutex<Guard>> = OnceLock::new();
    GUARD.get_or_init(Mutex::default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_names_its_package() {
        let error = program("no-such-program-here", "the-package", &[]).unwrap_err();
        assert_eq!(error.to_string(), "`no-such-program-here` is not installed: apt-get install the-package");
    }

    #[tokio::test]
    async fn dropping_a_process_kills_its_whole_group() {
        let folder = Folder::new("group").unwrap();
        let log = folder.join("log");
        let child = Process::spawn("sh", Command::new("sh").args(["-c", "sleep 600 & echo $!; wait"]), &log).unwrap();
        let grandchild = crate::wait::until("the grandchild's id", Duration::from_secs(20), || async {
            Ok(std::fs::read_to_string(&log)?.trim().parse::<u32>()?)
        });
        let stat = format!("/proc/{}/stat", grandchild.await.unwrap());
        drop(child);
        // Somebody else reaps it, so it may be seen as a zombie for a moment.
        let gone = || async {
            match std::fs::read_to_string(&stat) {
                Ok(text) if !text.contains(") Z ") => bail!("still there: {text}"),
                _ => Ok(()),
            }
        };
        crate::wait::until("the grandchild's end", Duration::from_secs(20), gone).await.unwrap();
    }
}
