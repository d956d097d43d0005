//! Free ports that no other test process takes.
//!
//! "Bind port 0, close, hand the number to a server" races with every other test. So a port is taken by locking a file named after
//! it; the lock lives as long as the [`Port`] and the operating system drops it when the process ends, however it ends. The
//! ports lie below the range from which the kernel takes ports for outgoing connections.

use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use anyhow::{Context, Result, bail};
use rand::Rng;

const FIRST: u16 = 12_000;
const LAST: u16 = 32_000;

/// A port on 127.0.0.1 that is ours until this is dropped.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    /// Takes a free port.
    pub fn take() -> Result<Self> {
        let folder = std::env::temp_dir().join("isthmus-test-ports");
        std::fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        for _ in 0..2_000 {
            let number = rand::rng().random_range(FIRST..LAST);
            let path = folder.join(number.to_string());
            let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
            let lock = lock.with_context(|| format!("opening {}", path.display()))?;
            if lock.try_lock().is_ok() && is_free(number) {
                return Ok(Self { number, _lock: lock });
            }
        }
        bail!("no free port between {FIRST} and {LAST}")
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// The same with the loopback address.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.number))
    }
}

impl std::fmt::Display for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.number)
    }
}

/// An address of loopback of the test's own at which this port of the first 1,024 is free, for protocols that know one port only; `None` where
/// only root may have it and we are not.
pub fn own_address(port: u16) -> Result<Option<Ipv4Addr>> {
    let mut rng = rand::rng();
    let own = Ipv4Addr::new(127, rng.random_range(2..250), rng.random_range(1..250), rng.random_range(2..250));
    match TcpListener::bind((own, port)) {
        Ok(_) => Ok(Some(own)),
        Err(_) if !rustix::process::geteuid().is_root() => Ok(None),
        Err(error) => Err(error).with_context(|| format!("listening at {own}:{port} as root")),
    }
}

fn is_free(number: u16) -> bool {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, number)).is_ok()
        && UdpSocket::bind((Ipv4Addr::UNSPECIFIED, number)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_given_to_one_taker_only() {
        let ports: Vec<Port> = (0..50).map(|_| Port::take().unwrap()).collect();
        let mut numbers: Vec<u16> = ports.iter().map(Port::number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 50);
    }
}
