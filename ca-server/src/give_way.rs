//! Which threads give way. Writer and finisher have a batch in hand, for which all its units wait; threads that talk to
//! stations and those that check signatures bring more work, or refuse it. Where processors are short the batch goes first,
//! so that whoever asks for too much does not take from those who were let in.

/// How much: as in `nice(2)`, which on Linux is of one thread.
const BY: i32 = 5;

/// From now on the calling thread gives way, and the threads that it begins. Where that is not permitted, all are equal.
pub(crate) fn give_way() {
    if let Err(error) = rustix::process::nice(BY) {
        tracing::debug!(%error, "no thread gives way to another");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_thread_itself_gives_way() {
        let priority = || rustix::process::getpriority_process(None).unwrap();
        let before = priority();
        let thread = std::thread::spawn(move || {
            give_way();
            priority()
        });
        assert_eq!(thread.join().unwrap(), (before + BY).min(19));
        assert_eq!(priority(), before);
    }
}
