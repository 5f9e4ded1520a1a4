//! The cable between station and CA, which somebody can pull out and put back.

use crate::failure::Outcome;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// A cable.
#[derive(Debug)]
pub struct Cable {
    /// Where the station connects.
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    is_cut: bool,
    ends: Vec<TcpStream>,
}

impl Cable {
    /// Lays a cable to this address.
    ///
    /// # Errors
    /// [`Failure`](crate::failure::Failure) of the system.
    pub fn to(far: SocketAddr) -> Outcome<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let cable = Self {
            address: listener.local_addr()?,
            state: Arc::default(),
        };
        let state = Arc::clone(&cable.state);
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                // Who connects while it is cut, or while the far end is away, is let go at once.
                if let Err(error) = join(near, far, &state) {
                    eprintln!("{far}: {error}");
                }
            }
        });
        Ok(cable)
    }

    /// Pulls it out.
    pub fn cut(&self) {
        let mut state = lock(&self.state);
        state.is_cut = true;
        for end in state.ends.drain(..) {
            // One that is closed already is as good as cut.
            drop(end.shutdown(Shutdown::Both));
        }
    }

    /// Puts it back.
    pub fn mend(&self) {
        lock(&self.state).is_cut = false;
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn join(near: TcpStream, far: SocketAddr, state: &Mutex<State>) -> io::Result<()> {
    let mut state = lock(state);
    if state.is_cut {
        return Ok(());
    }
    let far = TcpStream::connect(far)?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    state.ends.extend([near.try_clone()?, far.try_clone()?]);
    for (mut from, mut to) in [(near.try_clone()?, far.try_clone()?), (far, near)] {
        thread::spawn(move || {
            let ended = io::copy(&mut from, &mut to);
            drop(to.shutdown(Shutdown::Write));
            ended
        });
    }
    Ok(())
}
