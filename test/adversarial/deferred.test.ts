/** Keys that are checked when transactions end: several rows share one until then, across parts, contexts and sessions. */
import { expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import { attacks, clear, type Readers, type Session, who } from "../support/adversarial.js"
import { disagreements, rowsOf } from "../support/replay.js"
import { runs } from "../support/runs.js"

const table = "create table seats (id int primary key deferrable initially deferred, v text)"

const part = (id: string, ...statements: ReadonlyArray<string>) => [
  `select threadline.begin_part('{"actor": {"type": "user", "id": "${id}"}}')`,
  ...statements,
  `select threadline.finish('{"part": true}')`
]

/** The rows by key, without those keys of which nothing is recorded. */
const recorded = Effect.fnUntraced(function* (db: Session, rows: Readonly<Record<string, unknown>>) {
  const keys = yield* db.column(
    "select row_key from threadline.audit_changes union select previous_row_key from threadline.audit_changes"
  )
  return Object.fromEntries(Object.entries(rows).filter(([key]) => keys.includes(key)))
})

/** How the rows stand at an instant, as the record has it; keys at which nothing is are left out. */
const standing = (reads: Readers, instant: string) =>
  Effect.map(Effect.orDie(reads.query.asOfKeys("seats", [1, 2, 3, 4, 5], instant)), (answers) =>
    Object.fromEntries(
      answers.flatMap(({ answer, rowKey }) => (answer._tag === "Present" ? [[rowKey, answer.row["v"]]] : []))
    )
  )

const held = (db: Session) =>
  Effect.map(db.rows("select id, v from seats order by id"), (rows) =>
    Object.fromEntries(rows.map(({ id, v }) => [String(id), v]))
  )

const now = (db: Session) => Effect.map(db.value("select clock_timestamp()"), String)

attacks("keys that are deferrable initially deferred", (attack) => {
  const swap = ["update seats set id = 2 where v = 'a'", "update seats set id = 1 where v = 'b'"] as const
  const cases: ReadonlyArray<readonly [string, ReadonlyArray<string>]> = [
    ["a swap by a part and what encloses it", ["begin", who("outer"), swap[0], ...part("inner", swap[1]), "commit"]],
    ["a swap whose first half is in a part", ["begin", who("outer"), ...part("inner", swap[0]), swap[1], "commit"]],
    ["a swap by two parts", ["begin", who("outer"), ...part("one", swap[0]), ...part("two", swap[1]), "commit"]],
    ["a swap by two contexts", ["begin", who("one"), swap[0], who("two"), swap[1], "commit"]],
    [
      "a second row by one context, the first deleted by another",
      [
        "begin",
        who("one"),
        "insert into seats values (1, 'second')",
        who("two"),
        "delete from seats where v = 'a'",
        "commit"
      ]
    ],
    [
      "a second row by one context that writes it again before the first moves",
      [
        "begin",
        who("one"),
        "insert into seats values (1, 'second')",
        who("two"),
        "update seats set v = 'again' where v = 'second'",
        who("three"),
        "update seats set id = 3 where v = 'a'",
        "commit"
      ]
    ],
    [
      "a second row that goes again, by another context",
      [
        "begin",
        who("one"),
        "insert into seats values (1, 'second')",
        who("two"),
        "delete from seats where v = 'second'",
        "commit"
      ]
    ],
    [
      "a chain of three",
      [
        "begin",
        who("one"),
        "update seats set id = 2 where v = 'a'",
        who("two"),
        "update seats set id = 3 where v = 'b'",
        who("three"),
        "insert into seats values (1, 'c')",
        "commit"
      ]
    ]
  ]
  // Of the row that stays, nothing is recorded.
  const aloneKnown = "a second row that goes again, by another context"
  for (const mode of ["statement", "row"] as const) {
    for (const known of [true, false]) {
      attack(
        `have one row each after parts and contexts of one transaction, ${known ? "of rows that the record knows" : "of rows that were there before"}, in ${mode} mode`,
        ({ apply, db, readers: reads }) =>
          Effect.gen(function* () {
            yield* db.run(table)
            yield* apply({ table: "seats", mode })
            for (const [name, statements] of cases) {
              if (!known && name === aloneKnown) {
                continue
              }
              yield* db.run("delete from seats")
              yield* clear(db)
              yield* db.run("insert into seats values (1, 'a'), (2, 'b')")
              yield* known ? Effect.void : clear(db)
              const [before, start] = [yield* now(db), known ? new Map() : yield* rowsOf(db, "seats")]
              yield* db.run(...statements)
              const after = yield* recorded(db, yield* held(db))
              expect([name, yield* standing(reads, yield* now(db))]).toEqual([name, after])
              expect([name, yield* standing(reads, before)]).toEqual([name, yield* recorded(db, { 1: "a", 2: "b" })])
              expect([name, yield* Effect.orDie(disagreements(db, reads, "seats", start))]).toEqual([name, []])
            }
          })
      )
    }
  }

  const sessions: ReadonlyArray<readonly [string, string, string]> = [
    ["deletes the first", "insert into seats values (1, 'second')", "delete from seats where v = 'a'"],
    ["moves the first", "insert into seats values (1, 'second')", "update seats set id = 5 where v = 'a'"],
    [
      "moves a row to a key that another one leaves",
      "update seats set id = 1 where v = 'b'",
      "update seats set id = 5 where v = 'a'"
    ],
    [
      "writes the first and deletes it",
      "insert into seats values (1, 'second')",
      "update seats set v = 'a+' where v = 'a'; delete from seats where v = 'a+'"
    ]
  ]
  for (const known of [true, false]) {
    for (const [name, first, second] of sessions) {
      attack(
        `have one row each if A brings a second one, B ${name}, and A commits, ${known ? "of rows that the record knows" : "of rows that were there before"}`,
        ({ apply, db, readers: reads, session }) =>
          Effect.gen(function* () {
            const [a, b] = [yield* session(), yield* session()]
            yield* db.run(table)
            yield* apply("seats")
            yield* db.run("insert into seats values (1, 'a'), (2, 'b')")
            yield* known ? Effect.void : clear(db)
            const [before, start] = [yield* now(db), known ? new Map() : yield* rowsOf(db, "seats")]
            yield* a.run("begin", first)
            yield* b.run(second)
            yield* a.run("commit")
            expect(yield* standing(reads, yield* now(db))).toEqual(yield* recorded(db, yield* held(db)))
            expect(yield* standing(reads, before)).toEqual(yield* recorded(db, { 1: "a", 2: "b" }))
            expect(yield* Effect.orDie(disagreements(db, reads, "seats", start))).toEqual([])
          })
      )
    }
  }

  attack(
    "have one row each after random schedules of two sessions and their contexts",
    ({ apply, db, readers: reads, session }) =>
      Effect.gen(function* () {
        const writers = [yield* session(), yield* session()]
        yield* db.run(table)
        yield* apply("seats")
        yield* Effect.forEach(writers, (writer) => writer.run("set lock_timeout = '30ms'"))
        const turn = FastCheck.tuple(
          FastCheck.nat(1),
          FastCheck.constantFrom("insert", "move", "move", "write", "delete", "context", "commit", "commit"),
          FastCheck.integer({ min: 1, max: 4 }),
          FastCheck.integer({ min: 1, max: 4 })
        )
        const schedules = FastCheck.sample(FastCheck.array(turn, { minLength: 6, maxLength: 24 }), {
          numRuns: runs(60),
          seed: 20_261_128
        })
        const failures: Array<unknown> = []
        let names = 0
        for (const schedule of schedules) {
          yield* db.run("delete from seats")
          yield* clear(db)
          yield* db.run("insert into seats values (1, 'one'), (2, 'two'), (3, 'three')")
          const open = [false, false]
          const quiet: Array<{ readonly at: string; readonly rows: unknown }> = []
          const done: Array<string> = []
          for (const [who, what, key, other] of [...schedule, [0, "commit", 1, 1], [1, "commit", 1, 1]] as const) {
            const writer = writers[who]
            if (writer === undefined || (what === "commit" && !open[who])) {
              continue
            }
            if (!open[who]) {
              yield* writer.run("begin")
              open[who] = true
            }
            // One row by its content: the others at its key are not meant.
            const oneRow = `ctid = (select ctid from seats where id = ${key} order by v limit 1)`
            const messages: Readonly<Record<string, string>> = {
              insert: `insert into seats values (${key}, 'n${++names}')`,
              move: `update seats set id = ${other} where ${oneRow}`,
              write: `update seats set v = 'w${++names}' where ${oneRow}`,
              delete: `delete from seats where ${oneRow}`,
              context: `select threadline.set_context('{"actor": {"type": "user", "id": "${++names}"}}')`,
              commit: "commit"
            }
            const message = messages[what] ?? "commit"
            const outcome = yield* writer.outcome(message)
            done.push(`${who}: ${message}: ${outcome}`)
            if (outcome !== "ok") {
              yield* writer.run("rollback")
            }
            if (outcome !== "ok" || what === "commit") {
              open[who] = false
            }
            if (!open.includes(true)) {
              quiet.push({ at: yield* now(db), rows: yield* held(db) })
            }
          }
          for (const { at, rows } of quiet) {
            const standingRows = yield* standing(reads, at)
            if (JSON.stringify(standingRows) !== JSON.stringify(rows)) {
              failures.push({ done, at, told: standingRows, rows })
              break
            }
          }
        }
        expect(
          failures.length,
          JSON.stringify(failures.sort((a, b) => JSON.stringify(a).length - JSON.stringify(b).length)[0], null, 1)
        ).toBe(0)
      }),
    300_000
  )
})
