// pg-boss with a hundred jobs a fetch; its upkeep and cron are off, and the queue of the latency measure notifies.
import { PgBoss } from 'pg-boss'
import { concurrency, drain, dsn, fill, Pings, report, sql } from './common.mjs'

const boss = new PgBoss({
  connectionString: dsn, max: concurrency + 2, supervise: false, schedule: false, useListenNotify: true,
})
boss.on('error', (error) => { throw error })
await boss.start()
await boss.createQueue('noop')
await boss.createQueue('ping', { notify: true })
await fill((payloads) => boss.insert('noop', payloads.map((data) => ({ data }))))
await sql.query('vacuum analyze pgboss.job')

const poll = { pollingIntervalSeconds: 0.5 }
const drained = await drain(async (ran) => {
  for (let i = 0; i < concurrency; i++) {
    // A fetch that comes back short would wait for the next poll although jobs are left: wake it.
    const id = await boss.work('noop', { ...poll, batchSize: 100, burstWhenBatchFull: true }, async (jobs) => {
      if (ran(jobs.length) > 0) boss.notifyWorker(id)
    })
  }
}, `select from pgboss.job where name = 'noop' and state < 'completed'`)
await boss.offWork('noop')

const pings = new Pings()
await boss.work('ping', poll, async () => { pings.pong() })
report(drained, await pings.run(() => boss.send('ping', {})))
await boss.stop({ graceful: false })
await sql.end()
