//! Waiting, but not for ever.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};

/// What `future` comes to within `limit`; `None` if it takes longer. Cancel safe if `future` is.
///
/// The timer is made once there is something to wait for, and lies by itself: inside of a future it would make every future around it
/// lie as a timer does, in lines of 128 bytes.
pub(super) async fn within<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut timer = None;
    poll_fn(|context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Some(output));
        }
        let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        timer.as_mut().poll(context).map(|()| None)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_is_in_time_is_heard_and_nobody_else() {
        let long = Duration::from_secs(60);
        assert_eq!(within(long, async { 1 }).await, Some(1));
        assert_eq!(within(long, tokio::task::yield_now()).await, Some(()));
        let never = std::future::pending::<()>();
        assert_eq!(within(Duration::from_millis(1), never).await, None);
    }
}
