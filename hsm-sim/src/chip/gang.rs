//! All sockets at work, each on its line.

use crate::chip::error::ChipError;
use crate::chip::line::Line;
use crate::chip::socket::Socket;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Serves every socket on its line until `stop` is set; a question that is being answered is answered first.
///
/// # Errors
/// The first line that failed; the others are stopped then.
pub fn serve(sockets: Vec<(Socket, Line)>, stop: &AtomicBool) -> Result<(), ChipError> {
    thread::scope(|scope| {
        let work = |(mut socket, mut line): (Socket, Line)| {
            scope.spawn(move || {
                let outcome = serve_socket(&mut socket, &mut line, stop);
                stop.store(true, Ordering::Relaxed);
                outcome
            })
        };
        #[expect(
            clippy::needless_collect,
            reason = "all must run before the first is waited for"
        )]
        let workers: Vec<_> = sockets.into_iter().map(work).collect();
        workers
            .into_iter()
            .try_for_each(|worker| match worker.join() {
                Ok(outcome) => outcome.map_err(ChipError::io(Path::new("line"))),
                Err(panic) => std::panic::resume_unwind(panic),
            })
    })
}

fn serve_socket(socket: &mut Socket, line: &mut Line, stop: &AtomicBool) -> io::Result<()> {
    let mut buffer = [0; 2_048];
    while !stop.load(Ordering::Relaxed) {
        let len = line.receive(&mut buffer)?;
        let mut sent = Ok(());
        let mut send = |answer: &[u8]| {
            if sent.is_ok() {
                sent = line.send(answer);
            }
        };
        match buffer.get(..len) {
            Some(bytes) if !bytes.is_empty() => socket.receive(bytes, &mut send),
            _ => socket.idle(&mut send),
        }
        sent?;
    }
    Ok(())
}
