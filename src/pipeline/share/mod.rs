//! Share: what a sink can take at once is divided among lanes by priority.
//!
//! A sink has a [`Share`]: bytes that may be under way to it. A class has as large a part of them as its weight is of the weights of all
//! classes that want some: sixteen parts for `urgent`, four for `normal`, one for `bulk`; a class alone has all. What is under way
//! decides what is written, so that nobody is starved and nobody crowds the others out. Within a class, first come is first served;
//! nothing is reordered inside a lane, because a lane asks for one batch after the other.
//!
//! A class keeps its part for some milliseconds after its last batch, because the next ones come right behind. What was under way
//! before another class came stays so: at worst there is twice the room, for as long as that takes.
//!
//! Invariant: room is given back when the outcome of its batch is known, or when whoever was promised it is dropped.

mod layer;
mod priority;
mod room;
mod service;

#[cfg(test)]
mod tests;

pub use layer::ShareLayer;
pub use priority::Priority;
pub use room::{Room, Share};
pub use service::Shared;
