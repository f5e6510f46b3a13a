//! Published vectors and properties of all presets, what single vendors do that others do not, and the model by itself.

mod algorithms;
mod diagnosis;
mod mutations;
mod presets;
mod vendors;
