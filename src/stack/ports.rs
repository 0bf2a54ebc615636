//! Loopback ports: the wanted one when it is free, any other when it is not.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};

use super::StackError;
use super::event::{EventSink, StackEvent};

/// `wanted` if it is free (0 = any), otherwise a free one, which is reported.
pub(super) fn choose(
    name: &'static str,
    wanted: u16,
    events: &EventSink,
) -> Result<u16, StackError> {
    if wanted != 0 && is_free(wanted) {
        return Ok(wanted);
    }
    let used = any_free().map_err(|source| StackError::NoPort { name, source })?;
    if wanted != 0 {
        events(StackEvent::PortReplaced { name, wanted, used });
    }
    Ok(used)
}

/// Whether a child ended because its port was taken after we had looked.
pub(super) fn was_taken(error: &StackError) -> bool {
    matches!(error, StackError::ExitedAtStart { log_tail, .. } if log_tail.contains("ddress already in use")
        || log_tail.contains("resource busy"))
}

/// Free on both loopback addresses; a machine without IPv6 counts as free there.
fn is_free(port: u16) -> bool {
    let busy = |result: io::Result<TcpListener>| {
        result.is_err_and(|error| {
            matches!(
                error.kind(),
                io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied
            )
        })
    };
    !busy(TcpListener::bind((Ipv4Addr::LOCALHOST, port)))
        && !busy(TcpListener::bind((Ipv6Addr::LOCALHOST, port)))
}

fn any_free() -> io::Result<u16> {
    let mut port = 0;
    // The system hands out a port for one address family; the other may be taken.
    for _ in 0..16 {
        port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        if is_free(port) {
            break;
        }
    }
    Ok(port)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn a_busy_port_is_replaced_and_reported() {
        let busy = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let wanted = busy.local_addr().expect("it is bound").port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink: EventSink = {
            let seen = Arc::clone(&seen);
            Arc::new(move |event| seen.lock().expect("not poisoned").push(event))
        };
        let used = choose("postgres", wanted, &sink).expect("another port");
        assert_ne!(used, wanted);
        assert_eq!(
            *seen.lock().expect("not poisoned"),
            [StackEvent::PortReplaced {
                name: "postgres",
                wanted,
                used
            }]
        );
    }
}
