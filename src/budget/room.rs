//! A task's share of the worker's memory as plugins see it.

use pipette_api::{Landlord, async_trait};

use super::Share;

#[async_trait]
impl Landlord for Share {
    fn try_lease(&self, bytes: u64) -> Option<Box<dyn Send + Sync>> {
        self.keep(bytes).map(|kept| -> Box<dyn Send + Sync> { Box::new(kept) })
    }

    async fn lease(&self, bytes: u64) -> Box<dyn Send + Sync> {
        Box::new(self.ask(bytes).granted().await)
    }
}
