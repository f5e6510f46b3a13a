//! Published vectors and properties of all presets, and what single vendors do that others do not.

mod presets;
mod vendors;
