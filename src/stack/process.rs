//! Launching children that cannot outlive this process; the only file of the crate with `unsafe`.
//!
//! Two facts about Linux shape this file. A parent-death signal fires when the *thread* that forked the child ends,
//! so every launch happens on one thread that lives as long as the process. And a change of uid clears the signal,
//! so it is set last, after the user namespace or the uid switch.
#![allow(
    unsafe_code,
    reason = "code between fork and exec is unsafe by nature; it is all in this file"
)]

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{OnceLock, mpsc};

use rustix::process::{Pid, Signal};
use tokio::process::Child;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::run_as::RunAs;

/// What to run, and as whom.
#[derive(Debug, Clone)]
pub(super) struct Launch {
    pub(super) program: PathBuf,
    pub(super) args: Vec<OsString>,
    /// The child's whole environment: nothing is inherited, so a stray `PGHOST` or `PGRST_*` changes nothing.
    pub(super) env: Vec<(OsString, OsString)>,
    pub(super) run_as: RunAs,
    /// Sent by the kernel when this process is gone (Linux only).
    pub(super) death_signal: Signal,
}

/// A running child that gets its death signal when dropped before it was reaped.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    death_signal: Signal,
}

impl Running {
    /// `None` once the child has been reaped.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    pub(super) fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid() {
            send_signal(pid, signal);
        }
    }

    pub(super) async fn wait(&mut self) -> String {
        match self.child.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => format!("unknown status: {error}"),
        }
    }

    /// Ends with success or not.
    pub(super) async fn succeeded(&mut self) -> bool {
        self.child.wait().await.is_ok_and(|status| status.success())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal(self.death_signal);
    }
}

/// Starts a child in its own process group, with its output appended to `output`.
pub(super) async fn launch(launch: &Launch, output: &File) -> io::Result<Running> {
    let command = command(launch, output)?;
    let (reply, answer) = oneshot::channel();
    let order = Order {
        command,
        death_signal: launch.death_signal,
        runtime: Handle::current(),
        reply,
    };
    spawner()
        .send(order)
        .map_err(|_| io::Error::other("the launching thread is gone"))?;
    answer
        .await
        .map_err(|_| io::Error::other("the launching thread is gone"))?
}

/// Sends a signal; a process that is already gone is what the sender wants anyway.
pub(super) fn send_signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

struct Order {
    command: Command,
    death_signal: Signal,
    runtime: Handle,
    reply: oneshot::Sender<io::Result<Running>>,
}

/// The thread that forks; it is never joined, and ends with the process.
fn spawner() -> &'static mpsc::Sender<Order> {
    static SPAWNER: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    SPAWNER.get_or_init(|| {
        let (sender, orders) = mpsc::channel::<Order>();
        std::thread::Builder::new()
            .name("stack-spawner".into())
            .spawn(move || {
                for order in orders {
                    let _runtime = order.runtime.enter();
                    let child = tokio::process::Command::from(order.command).spawn();
                    let running = child.map(|child| Running {
                        child,
                        death_signal: order.death_signal,
                    });
                    // A caller that stopped waiting drops the child here, which ends it.
                    let _ = order.reply.send(running);
                }
            })
            .expect("a process that cannot start one thread cannot run at all");
        sender
    })
}

fn command(launch: &Launch, output: &File) -> io::Result<Command> {
    let mut command = Command::new(&launch.program);
    command
        .args(&launch.args)
        .env_clear()
        .envs(launch.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output.try_clone()?)
        // Ctrl-C in a terminal reaches the whole foreground group; the order of stopping is ours.
        .process_group(0);
    if let RunAs::User { uid, gid } = launch.run_as {
        command.gid(gid).uid(uid);
    }
    #[cfg(target_os = "linux")]
    linux::before_exec(&mut command, launch);
    Ok(command)
}

#[cfg(target_os = "linux")]
mod linux {
    use std::ffi::CStr;
    use std::io;
    use std::os::unix::process::CommandExt as _;
    use std::process::Command;

    use rustix::fs::{Mode, OFlags};
    use rustix::io::Errno;
    use rustix::process::{getpid, getppid, set_parent_process_death_signal};
    use rustix::thread::{UnshareFlags, unshare_unsafe};

    use super::{Launch, RunAs};

    /// Arranges what happens between fork and exec.
    pub(super) fn before_exec(command: &mut Command, launch: &Launch) {
        let parent = getpid();
        let death_signal = launch.death_signal;
        // Prepared here, because nothing may be allocated after the fork.
        let namespace = match launch.run_as {
            RunAs::Namespace { uid } => Some(format!("{uid} 0 1")),
            RunAs::Same | RunAs::User { .. } => None,
        };
        let prepare = move || {
            if let Some(map) = &namespace {
                // SAFETY: the child of a fork has one thread, and no other code of this process runs in it.
                unsafe { unshare_unsafe(UnshareFlags::NEWUSER)? };
                write(c"/proc/self/setgroups", b"deny")?;
                write(c"/proc/self/uid_map", map.as_bytes())?;
                write(c"/proc/self/gid_map", map.as_bytes())?;
            }
            set_parent_process_death_signal(Some(death_signal))?;
            // The parent may have died before the line above; then no signal will ever come.
            if getppid() == Some(parent) {
                Ok(())
            } else {
                Err(Errno::SRCH.into())
            }
        };
        // SAFETY: the closure only makes system calls, allocates nothing and takes no lock.
        unsafe { command.pre_exec(prepare) };
    }

    fn write(path: &CStr, content: &[u8]) -> io::Result<()> {
        // Without /proc this would say "not found", which the caller takes for a missing program.
        let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|_| Errno::PERM)?;
        rustix::io::write(&file, content)?;
        Ok(())
    }
}
