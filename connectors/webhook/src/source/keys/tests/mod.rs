//! Against a vendor's server on this machine, with an authority of the tests' own.

mod deliveries;
mod fetching;
mod vendor;
