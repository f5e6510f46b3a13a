//! What layers remember, outside of the stack.

use std::{
    any::Any,
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use headgate_sdk::DeadLetter;

use crate::{runtime::Checkpoints, trace::Ledger};

/// States of layers by name: `{pipeline}/{step}`. A stack that is built anew finds the state of the step of the same name,
/// so that a reload neither forgets a limit nor closes a breaker. Clones share it.
#[derive(Clone, Default)]
pub struct LayerStates(Arc<Inner>);

#[derive(Default)]
struct Inner {
    states: Mutex<HashMap<String, Arc<dyn Any + Send + Sync>>>,
    mourners: Mutex<Vec<Arc<dyn Mourner>>>,
    store: Option<Checkpoints>,
    ledger: std::sync::OnceLock<Ledger>,
}

/// A state that has to know which events ended in the dead letters.
pub trait Mourner: Send + Sync + 'static {
    /// These did.
    fn dead_lettered(&self, letters: &[DeadLetter]);
}

impl LayerStates {
    /// States that outlive the process, in `store`; the default ones do not.
    #[must_use]
    pub fn stored_in(store: Checkpoints) -> Self {
        Self(Arc::new(Inner {
            store: Some(store),
            ..Inner::default()
        }))
    }

    /// Where states are stored, if they are.
    #[must_use]
    pub fn store(&self) -> Option<&Checkpoints> {
        self.0.store.as_ref()
    }

    /// How batches went is noted in `ledger` from now on.
    pub fn trace_in(&self, ledger: Ledger) {
        let _one_already = self.0.ledger.set(ledger);
    }

    /// Where is noted how batches went, if anywhere.
    #[must_use]
    pub fn ledger(&self) -> Option<&Ledger> {
        self.0.ledger.get()
    }

    /// Tells `mourner` of all dead letters from now on.
    pub fn mourn(&self, mourner: Arc<dyn Mourner>) {
        self.0
            .mourners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(mourner);
    }

    /// These events ended in the dead letters.
    pub fn dead_lettered(&self, letters: &[DeadLetter]) {
        for mourner in self
            .0
            .mourners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
        {
            mourner.dead_lettered(letters);
        }
    }

    /// The state of `name`, made by `make` if there is none of this type or if `fits` says that its settings have changed.
    pub fn get<T: Send + Sync + 'static>(
        &self,
        name: &str,
        fits: impl FnOnce(&T) -> bool,
        make: impl FnOnce() -> T,
    ) -> Arc<T> {
        let mut states = self.0.states.lock().unwrap_or_else(PoisonError::into_inner);
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
