//! XEP-0050 by table and by flow.
