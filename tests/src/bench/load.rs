use super::report::{Times, load};
use crate::failure::{Failure, Outcome};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

/// Makes all calls, `in_flight` of them at once: each that ends begins the next.
pub(super) async fn in_flight<T, F>(
    in_flight: u32,
    work: Vec<T>,
    call: impl Fn(usize, T) -> F + Clone + Send + Sync + 'static,
) -> Outcome<Times>
where
    T: Clone + Send + Sync + 'static,
    F: Future<Output = Outcome<()>> + Send,
{
    let (load, work, next) = (load(), Arc::new(work), Arc::new(AtomicUsize::new(0)));
    let begin = Instant::now();
    let tasks: Vec<_> = (0..in_flight)
        .map(|_| {
            let (work, next, call) = (Arc::clone(&work), Arc::clone(&next), call.clone());
            tokio::spawn(async move {
                let mut times = Vec::new();
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(one) = work.get(at) else {
                        return Ok::<_, Failure>(times);
                    };
                    let begin = Instant::now();
                    call(at, one.clone()).await?;
                    times.push(begin.elapsed());
                }
            })
        })
        .collect();
    let mut calls = Vec::new();
    for task in tasks {
        calls.extend(task.await.map_err(Failure::new)??);
    }
    Ok(Times {
        calls,
        whole: begin.elapsed(),
        load,
    })
}

/// Begins a call at each tick of a steady pace, whether or not those before have ended. A call's time counts from the
/// moment when it was due: one that had to wait for the caller is as late as one that waited for the server.
pub(super) async fn paced<T, F>(
    per_second: u32,
    work: Vec<T>,
    call: impl Fn(usize, T) -> F,
) -> Outcome<Times>
where
    F: Future<Output = Outcome<()>> + Send + 'static,
{
    let (load, begin) = (load(), tokio::time::Instant::now());
    let mut tasks = Vec::with_capacity(work.len());
    for (at, one) in (0_u32..).zip(work) {
        let due = begin + Duration::from_secs(1) * at / per_second;
        tokio::time::sleep_until(due).await;
        let call = call(tasks.len(), one);
        tasks.push(tokio::spawn(async move {
            call.await?;
            Ok::<_, Failure>(due.elapsed())
        }));
    }
    let mut calls = Vec::with_capacity(tasks.len());
    for task in tasks {
        calls.push(task.await.map_err(Failure::new)??);
    }
    Ok(Times {
        calls,
        whole: begin.elapsed(),
        load,
    })
}

/// Repeats something on this thread for about a second, after a tenth of one to warm up.
pub(super) fn repeated(once: impl FnMut() -> Outcome<()>) -> Outcome<Times> {
    repeated_for(Duration::from_secs(1), once)
}

/// As [`repeated`], for so long.
pub(super) fn repeated_for(
    span: Duration,
    mut once: impl FnMut() -> Outcome<()>,
) -> Outcome<Times> {
    let warm = Instant::now();
    while warm.elapsed() < span / 10 {
        once()?;
    }
    let (load, begin, mut calls) = (load(), Instant::now(), Vec::new());
    while begin.elapsed() < span {
        let began = Instant::now();
        once()?;
        calls.push(began.elapsed());
    }
    Ok(Times {
        calls,
        whole: begin.elapsed(),
        load,
    })
}

/// As [`repeated_for`], from so many threads at once.
pub(super) fn at_once(
    (threads, span): (u32, Duration),
    once: impl Fn() -> Outcome<()> + Sync,
) -> Outcome<Times> {
    let begin = Instant::now();
    let times = std::thread::scope(|scope| {
        let work = || repeated_for(span, &once);
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let join = |thread: ScopedJoinHandle<'_, _>| {
            thread.join().map_err(|_panic| Failure::new("a thread"))?
        };
        threads
            .into_iter()
            .map(join)
            .collect::<Outcome<Vec<Times>>>()
    })?;
    let load = times.first().map_or(f64::NAN, |first| first.load);
    // Each thread warms up for a tenth of its span first.
    let whole = begin.elapsed().saturating_sub(span / 10);
    let calls = times.into_iter().flat_map(|times| times.calls).collect();
    Ok(Times { calls, whole, load })
}
