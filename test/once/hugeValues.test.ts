/** Values and answers that are longer than what holds them. They take longer than all other values together. */
import { expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { attacks, brief, changes } from "../support/adversarial.js"
import * as Process from "../support/cliProcess.js"

attacks("values of more than 256 MB", (attack) => {
  attack(
    "are marked as left out if jsonb cannot hold them, and their row is captured and found by its key",
    ({ apply, db }) =>
      Effect.gen(function* () {
        yield* db.run("create table t (id int primary key, v text, n int)")
        // Compressible: a few megabytes where it is stored, as far as anybody can see before it is read.
        const huge = 270_000_000
        yield* db.run(`insert into t values (1, repeat('x', ${huge}), 0), (2, 'small', 0)`)
        yield* apply("t")
        yield* db.run("update t set n = n + 1")
        const recordedChanges = yield* changes(db)
        expect(brief(recordedChanges)).toEqual(["update 1", "update 2"])
        expect(recordedChanges.map(({ fields }) => fields)).toEqual(["{n}", "{n}"])
        expect(
          yield* db.rows(
            "select data_after -> 'v' ->> 'threadline:omitted' as size, length(data_after #>> '{v,sha256}') as hash, data_after ->> 'n' as n from threadline.audit_changes where row_key = '1'"
          )
        ).toEqual([{ size: `${huge + 2} bytes`, hash: "64", n: "1" }])
        expect(recordedChanges[1]?.after).toBe('{"n": 1, "v": "small", "id": 2}')
      }),
    300_000
  )
})

attacks("a batch of the feed that is longer than any string", (attack) => {
  attack(
    "is printed, as one document and line by line",
    ({ apply, database, db }) =>
      Effect.gen(function* () {
        yield* db.run("create table t (id int primary key, v text)")
        yield* apply("t")
        // JSON writes each character as six.
        yield* db.run("insert into t select id, repeat(chr(1), 15000000) from generate_series(1, 6) id")
        for (const form of ["--json", "--ndjson"]) {
          const { stderr, stdout } = yield* Process.runCounted(["feed", form], { DATABASE_URL: database.url })
          expect(stderr).toBe("")
          expect(Number(stdout)).toBeGreaterThan(6 * 90_000_000)
        }
      }),
    300_000
  )
})
