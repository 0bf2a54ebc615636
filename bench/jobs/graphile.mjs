// graphile-worker as its guide sets it up for throughput: jobs fetched 500 at a time, completions written together.
import { Logger, makeWorkerUtils, run } from 'graphile-worker'
import { concurrency, drain, dsn, fill, Pings, report, sql } from './common.mjs'

const logger = new Logger(() => () => {})
const utils = await makeWorkerUtils({ connectionString: dsn, logger })
await utils.migrate()
await fill((payloads) => utils.addJobs(payloads.map((payload) => ({ identifier: 'noop', payload }))))
await sql.query('vacuum analyze graphile_worker._private_jobs')

let runner
const pings = new Pings()
const drained = await drain(async (ran) => {
  runner = await run({
    noHandleSignals: true,
    preset: {
      worker: {
        connectionString: dsn,
        logger,
        concurrentJobs: concurrency,
        maxPoolSize: concurrency + 1,
        pollInterval: 500,
        localQueue: { size: 500, refetchDelay: { durationMs: 10 } },
        completeJobBatchDelay: 0,
        failJobBatchDelay: 0,
      },
    },
    taskList: { noop: async () => { ran(1) }, ping: async () => { pings.pong() } },
  })
}, 'select from graphile_worker._private_jobs')
report(drained, await pings.run(() => utils.addJob('ping', {})))
await runner.stop()
await utils.release()
await sql.end()
