//! Domain and local part → bridge and address.
