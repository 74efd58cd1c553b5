/** Partitions that have the name of one that the policy knows, and partitions that printed SQL takes in. */
import { expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { attacks, type Host, valueAsOf } from "../support/adversarial.js"

const asOf = (host: Host, key: Readonly<Record<string, number>>) => valueAsOf(host, "p", key)

/** Applies, or runs the SQL that makes everything anew. */
const run = ({ capture, db }: Host, mode: "statement" | "row", printed: boolean) =>
  printed
    ? Effect.gen(function* () {
        const files = yield* capture.print([{ table: "p", mode }])
        yield* db.run("begin", ...files.map(({ sql }) => sql), "commit")
      })
    : capture.apply([{ table: "p", mode }])

const table = [
  "create table p (id int not null, k int not null, v text, primary key (id, k)) partition by list (k)",
  "create table p_1 partition of p for values in (1)"
]

attacks("a partition that came since", (attack) => {
  for (const mode of ["statement", "row"] as const) {
    for (const printed of [false, true]) {
      const how = `${printed ? "printed SQL" : "the next apply"}, in ${mode} mode`
      attack(
        `has joined under a name that the policy knows: rows that left it directly are gone after ${how}`,
        (host) =>
          Effect.gen(function* () {
            const { capture, db, findings } = host
            yield* db.run(...table, "create table p_5 partition of p for values in (5)")
            yield* capture.apply([{ table: "p", mode }])
            yield* db.run(
              "alter table p detach partition p_5",
              "alter table p_5 rename to p_5_old",
              "create table p_5 partition of p for values in (5)",
              "insert into p values (7, 5, 'b'), (1, 1, 'a')"
            )
            // In row mode, PostgreSQL has cloned the triggers.
            yield* db.run(
              "alter table p_5 disable trigger user",
              "delete from p_5",
              "alter table p_5 enable trigger user"
            )
            expect(yield* findings()).toContain("PartitionAttached")
            yield* run(host, mode, printed)
            expect(yield* asOf(host, { id: 7, k: 5 })).not.toBe("b")
            expect(yield* capture.plan([{ table: "p", mode }])).toEqual([])
            yield* db.run("insert into p_5 values (8, 5, 'c')")
            expect(yield* asOf(host, { id: 8, k: 5 })).toMatch(/^(c|"c")$/)
          })
      )

      attack(
        `has joined under a name that the policy knows: rows that it brought were not absent before ${how}`,
        (host) =>
          Effect.gen(function* () {
            const { capture, db } = host
            yield* db.run(...table, "create table p_5 partition of p for values in (5)")
            yield* capture.apply([{ table: "p", mode }])
            yield* db.run("insert into p values (1, 1, 'a')")
            yield* db.run(
              "drop table p_5",
              "create table p_5 (like p including all)",
              "insert into p_5 values (7, 5, 'b')",
              "alter table p attach partition p_5 for values in (5)"
            )
            yield* run(host, mode, printed)
            expect(
              yield* db.value("select lapses::text <> '{}' from threadline.capture_policies where table_name = 'p'")
            ).toBe("t")
          })
      )

      attack(`has joined under a new name: it brings rows to ${how}`, (host) =>
        Effect.gen(function* () {
          const { capture, db } = host
          yield* db.run(...table)
          yield* capture.apply([{ table: "p", mode }])
          yield* db.run(
            "create table p_5 (like p including all)",
            "insert into p_5 values (7, 5, 'b')",
            "alter table p attach partition p_5 for values in (5)"
          )
          yield* run(host, mode, printed)
          expect(
            yield* db.value("select lapses::text <> '{}' from threadline.capture_policies where table_name = 'p'")
          ).toBe("t")
        })
      )
    }

    attack(`is none if two that were there exchanged their names, in ${mode} mode`, (host) =>
      Effect.gen(function* () {
        const { capture, db, findings } = host
        yield* db.run(...table, "create table p_5 partition of p for values in (5)")
        yield* capture.apply([{ table: "p", mode }])
        yield* db.run(
          "alter table p_5 rename to swap",
          "alter table p_1 rename to p_5",
          "alter table swap rename to p_1"
        )
        expect(yield* findings()).not.toContain("PartitionAttached")
        expect((yield* capture.plan([{ table: "p", mode }])).map(({ kind }) => kind)).not.toContain("attach partition")
      })
    )
  }
})
