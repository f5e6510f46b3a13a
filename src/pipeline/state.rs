//! What layers remember, outside of the stack.

use std::{
    any::Any,
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// States of layers by name: `{pipeline}/{step}`. A stack that is built anew finds the state of the step of the same name,
/// so that a reload neither forgets a limit nor closes a breaker. Clones share it.
#[derive(Clone, Default)]
pub struct LayerStates(Arc<Mutex<HashMap<String, Arc<dyn Any + Send + Sync>>>>);

impl LayerStates {
    /// The state of `name`, made by `make` if there is none of this type or if `fits` says that its settings have changed.
    pub fn get<T: Send + Sync + 'static>(
        &self,
        name: &str,
        fits: impl FnOnce(&T) -> bool,
        make: impl FnOnce() -> T,
    ) -> Arc<T> {
        let mut states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = states
            .get(name)
            .cloned()
            .and_then(|state| state.downcast::<T>().ok())
            && fits(&state)
        {
            return state;
        }
        let state = Arc::new(make());
        states.insert(name.to_owned(), state.clone());
        state
    }
}
