//! Who a mail is really from: Authentication-Results, SPF, DKIM, DMARC, ARC.
