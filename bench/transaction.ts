/** A whole `Audit.transaction` against the same work in `sql.withTransaction`: both captured, both durable. */
import * as PgClient from "@effect/sql-pg/PgClient"
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Actor from "../src/Actor.js"
import * as Audit from "../src/Audit.js"
import { type Effort, median } from "./measure.js"

export interface Durations {
  /** Microseconds. */
  readonly plain: number
  readonly audited: number
}

const write = (i: number) =>
  Effect.flatMap(
    SqlClient.SqlClient,
    (sql) => sql`update accounts set balance = balance + 1, updated_at = clock_timestamp() where id = ${1 + (i % 1000)}`
  )

const measureTransactions = (count: number) =>
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    const plain: Array<number> = []
    const audited: Array<number> = []
    const timed = <A, E, R>(into: Array<number>, effect: Effect.Effect<A, E, R>) =>
      Effect.suspend(() => {
        const start = performance.now()
        return Effect.map(effect, () => {
          into.push((performance.now() - start) * 1000)
        })
      })
    // One by one in turn; the first fifth warms up.
    const warm = Math.ceil(count / 5)
    for (let i = 0; i < count + warm; i++) {
      yield* timed(i < warm ? [] : plain, sql.withTransaction(write(i)))
      yield* timed(
        i < warm ? [] : audited,
        Audit.transaction(write(i), { actor: Actor.user("42"), correlationId: `req-${i}` })
      )
    }
    return { plain: median(plain), audited: median(audited) }
  })

export const transactions = (url: string, effort: Effort): Promise<Durations> => {
  const client = PgClient.layer({ url: Redacted.make(url), maxConnections: 1, applicationName: "threadline-bench" })
  return measureTransactions(effort.transactions).pipe(
    Effect.provide(Layer.provideMerge(Audit.layer, client)),
    Effect.runPromise
  )
}
