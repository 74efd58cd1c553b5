/** A host's locks on its tables hold up neither reads nor the looks of capture, which lock nothing of the host's. */
import { expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { attacks } from "../support/adversarial.js"
import { readers } from "../support/replay.js"

attacks("locks of the host on its tables", (attack) => {
  const cases: ReadonlyArray<readonly [what: string, ...statements: ReadonlyArray<string>]> = [
    ["a partition that is truncated", "truncate p_1"],
    ["a table that is altered", "alter table p add column more int"],
    ["a partition that is being attached", "alter table p attach partition p_3 for values in (3)"],
    ["a partition that left and is written anew", "alter table p_2 alter k type bigint"],
    ["a partition that left and is dropped", "drop table p_2"]
  ]
  for (const [what, ...statements] of cases) {
    attack(`hold up no read, plan or status: ${what}`, ({ apply, capture, database, db, session }) =>
      Effect.gen(function* () {
        yield* db.run(
          "create table p (id int not null, k int not null, v text, primary key (id, k)) partition by list (k)",
          "create table p_1 partition of p for values in (1)",
          "create table p_2 partition of p for values in (2)",
          "create table p_3 (like p including all)"
        )
        yield* apply("p")
        yield* db.run("insert into p values (1, 1, 'a'), (2, 2, 'a')", "alter table p detach partition p_2")
        const now = String(
          yield* db.value(`select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`)
        )
        const locking = yield* session()
        yield* locking.run("begin", ...statements)
        // Whatever waits for the lock is refused at once, and the test fails.
        yield* db.run(`alter database ${database.name} set lock_timeout = '5s'`)
        const { query } = yield* Effect.orDie(readers(database.url))
        const looks = Effect.gen(function* () {
          yield* query.asOf("p", ["1", "1"], now)
          yield* query.asOfKeys("p", [["1", "1"]], now)
          yield* query.asOfRows("p", now)
          yield* query.history("p", ["1", "1"])
          yield* query.timeline({ table: "p" })
          yield* capture.status()
          yield* capture.plan([{ table: "p" }])
        })
        expect(yield* Effect.exit(looks)).toMatchObject({ _tag: "Success" })
        yield* locking.run("rollback")
      })
    )
  }
})
