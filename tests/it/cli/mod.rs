//! The program as a person types it: the real binary, in a folder of its own, with nothing inherited.

mod chaos;
mod client;
mod compose;
mod cron;
mod dev;
mod durability;
mod external;
mod init;
mod jobs;
mod lifecycle;
mod mail;
mod passwords;
mod settings;
mod test;
mod up;
mod users;

use std::fs;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use sb::db::Target;
use serde_json::Value;
use tempfile::TempDir;

use crate::support;

/// The machine may be busy: a deadline ends a hanging test, it is no measure of speed.
const DEADLINE: Duration = Duration::from_mins(2);

/// A home, and whatever projects a test makes in it. Leaves no process behind.
struct Sandbox {
    dir: TempDir,
    env: Vec<(String, String)>,
}

/// What a command left: exit code and both streams.
#[derive(Debug)]
struct Output {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Output {
    #[track_caller]
    fn succeeded(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self
    }

    #[track_caller]
    fn failed(self, code: i32, first_line: &str) -> Self {
        assert_eq!(
            (self.code, self.first_line()),
            (Some(code), first_line),
            "{self:#?}"
        );
        self
    }

    fn first_line(&self) -> &str {
        self.stderr.lines().next().unwrap_or_default()
    }

    /// What to type next.
    fn last_line(&self) -> &str {
        self.stderr
            .trim_end()
            .lines()
            .last()
            .unwrap_or_default()
            .trim()
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

impl Sandbox {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let text = |path: &Path| path.to_str().expect("the path is text").to_owned();
        let cache = support::cache_dir();
        let mut env = vec![
            ("PATH".to_owned(), search_path()),
            ("HOME".to_owned(), text(dir.path())),
            ("SB_CACHE_DIR".to_owned(), text(&cache)),
            // Sockets go away with the sandbox.
            ("XDG_RUNTIME_DIR".to_owned(), text(&dir.path().join("run"))),
            // Parts of the machine that other tests use as well.
            ("SB_PORT".to_owned(), "0".to_owned()),
            ("SB_POSTGRES_PORT".to_owned(), "0".to_owned()),
            ("SB_POSTGREST_PORT".to_owned(), "0".to_owned()),
        ];
        let bin_dir = support::postgres_bin_dir();
        env.extend(bin_dir.map(|dir| ("SB_POSTGRES_BIN_DIR".to_owned(), text(&dir))));
        Self { dir, env }
    }

    /// A sandbox with a project `app`, made by `sb init`.
    fn with_project() -> Self {
        let sandbox = Self::new();
        sandbox
            .sb_in(sandbox.path(""), &["init", "app"])
            .succeeded();
        sandbox
    }

    /// The same on a migrated database of its own.
    async fn on_database() -> (Self, Target) {
        let target = support::fresh_database().await;
        let mut sandbox = Self::with_project();
        sandbox.set("DATABASE_URL", &support::cluster().url(target.database()));
        sandbox.set("SB_MASTER_KEY", support::MASTER_KEY);
        (sandbox, target)
    }

    fn set(&mut self, name: &str, value: &str) {
        self.env.push((name.to_owned(), value.to_owned()));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A path in the project.
    fn app(&self, name: &str) -> PathBuf {
        self.path("app").join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.app(name), text).expect("the project can be written");
    }

    fn command(&self, folder: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sb"));
        command.args(arguments).current_dir(folder).env_clear();
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// `sb` in the project, run by another program.
    fn wrapped(&self, program: &[&str], arguments: &[&str]) -> Command {
        let sb = env!("CARGO_BIN_EXE_sb");
        let mut command = Command::new(program[0]);
        command.args(&program[1..]).arg(sb).args(arguments);
        command.current_dir(self.path("app")).env_clear();
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs `sb` in the project.
    fn sb(&self, arguments: &[&str]) -> Output {
        self.sb_in(self.path("app"), arguments)
    }

    fn sb_in(&self, folder: impl AsRef<Path>, arguments: &[&str]) -> Output {
        let output = self
            .command(folder.as_ref(), arguments)
            .output()
            .expect("sb can be run");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("output is UTF-8");
        Output {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// Starts `sb` in the project; its words go to a file.
    fn spawn(&self, arguments: &[&str]) -> Spawned {
        let log = self.path("spawned.log");
        let file = fs::File::create(&log).expect("the sandbox can be written");
        let mut command = self.command(&self.path("app"), arguments);
        command.stdout(Stdio::null()).stderr(file).process_group(0);
        Spawned {
            child: command.spawn().expect("sb can be run"),
            log,
        }
    }

    /// Processes that work on this sandbox: they run in it or name it.
    fn processes(&self) -> Vec<String> {
        let own = std::process::id().to_string();
        let dir = self.dir.path().canonicalize().expect("the folder exists");
        let dir = dir.to_str().expect("the path is text");
        let describe = |entry: fs::DirEntry| {
            let pid = entry
                .file_name()
                .into_string()
                .ok()
                .filter(|pid| *pid != own && pid.parse::<u32>().is_ok())?;
            // Empty for a zombie, which is as good as gone.
            let command = fs::read(entry.path().join("cmdline"))
                .ok()
                .filter(|text| !text.is_empty())?;
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            let inside =
                fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(dir));
            (inside || command.contains(dir)).then(|| format!("{pid} {command}"))
        };
        fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(describe)
            .collect()
    }

    #[track_caller]
    fn assert_nothing_runs(&self) {
        wait_until("every process has ended", || {
            self.processes().is_empty().then_some(())
        });
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        for process in self.processes() {
            let pid = process
                .split(' ')
                .next()
                .and_then(|pid| pid.parse().ok())
                .and_then(Pid::from_raw);
            if let Some(pid) = pid {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

fn search_path() -> String {
    let path = std::env::var_os("PATH").and_then(|path| path.into_string().ok());
    path.expect("PATH is set")
}

/// A running `sb`; killed when dropped.
struct Spawned {
    child: Child,
    log: PathBuf,
}

impl Spawned {
    fn words(&self) -> String {
        let mut text = String::new();
        let read = fs::File::open(&self.log).and_then(|mut file| file.read_to_string(&mut text));
        read.expect("the log can be read");
        text
    }

    /// Waits until it has said `words`.
    #[track_caller]
    fn says(&mut self, words: &str) -> String {
        wait_until(words, || {
            let text = self.words();
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                assert!(
                    text.contains(words),
                    "it ended ({status}) without saying {words:?}:\n{text}"
                );
            }
            text.contains(words).then_some(text)
        })
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("pids are small"))
            .expect("pids are positive");
        kill_process(pid, signal).expect("it runs");
    }

    #[track_caller]
    fn ends(&mut self) -> ExitStatus {
        wait_until("it has ended", || {
            self.child.try_wait().expect("it is our child")
        })
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Looks again and again, until `DEADLINE`.
#[track_caller]
fn wait_until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < DEADLINE, "waited in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}
