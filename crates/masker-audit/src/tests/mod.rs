mod failing;
mod starts;
mod tampering;
mod writing;
