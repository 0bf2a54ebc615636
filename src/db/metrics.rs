//! How full the pools are, read when somebody asks for metrics.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use super::Db;

#[derive(Debug)]
struct Pools(Db);

impl Db {
    /// What `/metrics` says of the pools: connections open and idle, requests waiting for one, by pool.
    pub fn collector(&self) -> Box<dyn Collector> {
        Box::new(Pools(self.clone()))
    }
}

impl Collector for Pools {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let pools = self.0.pool_status();
        for (name, help, value) in [
            ("open", "Database connections that are open", 0),
            ("idle", "Database connections nobody uses", 1),
            ("waiting", "Requests waiting for a database connection", 2),
        ] {
            let name = format!("db_pool_{name}");
            let mut family = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
            for (pool, status) in &pools {
                let values = [status.size, status.available, status.waiting];
                let gauge = ConstGauge::new(i64::try_from(values[value]).unwrap_or(i64::MAX));
                gauge.encode(family.encode_family(&[("pool", *pool)])?)?;
            }
        }
        Ok(())
    }
}
