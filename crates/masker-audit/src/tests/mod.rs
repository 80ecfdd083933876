mod failing;
mod model;
mod segments;
mod starts;
mod tampering;
mod writing;
