//! The last leg, from the egress to a service: who can read it, and who no longer can.

use super::Checker;

impl Checker<'_> {
    pub(super) fn last_legs(&mut self) {
        let d = self.domain;
        for (index, service) in d.services.iter().enumerate() {
            let at = format!("services[{index}]");
            // The built-in site stands beside the egress and has nothing to hide.
            if service.tls.is_none() && service.site.is_none() {
                let message = format!(
                    "the last leg to the service `{}` is not encrypted: segments end at the egress",
                    service.name
                );
                let mend = "keep egress and service on one machine or a network of their own, or add `tls`";
                self.note(&at, "last-leg", message, mend);
            }
            if service.tls.is_some() {
                self.blind_functions(&at, &service.name);
            }
        }
    }

    /// A function that reads payload finds ciphertext in what the gateway has sealed for the service.
    fn blind_functions(&mut self, at: &str, service: &crate::names::Name) {
        let d = self.domain;
        let paths = d.paths.iter().filter(|path| path.service == *service);
        let hops = paths.flat_map(|path| &path.hops);
        let mut blind = hops.filter(|hop| {
            d.functions.iter().any(|function| function.name == **hop && function.intrusive)
        });
        if let Some(function) = blind.next() {
            let message = format!(
                "with `tls` the function `{function}` sees ciphertext on the way to `{service}`: it inspects nothing there"
            );
            let mend = "delete `tls`, or lead the service's paths past functions that read payload";
            self.warning(&format!("{at}.tls"), "functions-see-ciphertext", message, mend);
        }
    }
}
