//! What the runtime wants of a task, as the task sees it.

use tokio::sync::watch;

/// What the runtime wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Go on.
    Run,
    /// Return from `poll` soon; `pause` follows.
    Pause,
    /// Return from `poll` soon; `stop` follows.
    Stop,
}

/// The runtime's wish, to be looked at or awaited. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Signal(watch::Receiver<Wish>);

impl Signal {
    /// The signal that follows what the sender says. When the sender is gone the task is wanted back.
    pub fn new(wish: watch::Receiver<Wish>) -> Self {
        Self(wish)
    }

    /// The wish at this moment.
    pub fn wish(&self) -> Wish {
        *self.0.borrow()
    }

    /// True when the runtime has given the task up: it did not return in time, and another may do its work by now.
    /// Nothing it still does may count, so what it holds is best let go.
    pub fn is_given_up(&self) -> bool {
        self.0.has_changed().is_err()
    }

    /// Resolves when the runtime wants the task back: pause or stop. A `poll` that waits selects on this.
    pub async fn recalled(&self) {
        self.until(|wish| wish != Wish::Run).await;
    }

    /// Resolves when the wish fulfils the condition, or when nobody can express a wish any more.
    pub async fn until(&self, mut condition: impl FnMut(Wish) -> bool) {
        let mut wish = self.0.clone();
        // An error means the sender is gone, which asks for the same as a stop.
        let _ = wish.wait_for(|wish| condition(*wish)).await;
    }
}
