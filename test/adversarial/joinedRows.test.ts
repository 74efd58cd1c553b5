/** Rows that join a captured table with a partition, and are written through the table before anyone applies. */
import { expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Query from "../../src/Query.js"
import { attacks, type Host, migrate, valueAsOf } from "../support/adversarial.js"

/** What as-of answers for a row, now or at an instant: the value of `v` if it is there. */
const asOf = (host: Host, key: Query.KeyInput, at?: string) => valueAsOf(host, "p", key, at)

const lapses = ({ db }: Host) =>
  db.value("select lapses::text from threadline.capture_policies where removed_at is null")

const table = [
  "create table p (id int not null, k int not null, v text, primary key (id, k)) partition by list (k)",
  "create table p_1 partition of p for values in (1)",
  "create table p_rest partition of p default"
]

const filled = (rows: string) => [
  "create table p_5 (like p including all)",
  `insert into p_5 values ${rows}`,
  "alter table p attach partition p_5 for values in (5)"
]

for (const watched of [false, true]) {
  const when = watched ? " under the schema watch" : ""
  attacks(`rows that came with a partition${when}`, (attack) => {
    for (const mode of ["statement", "row"] as const) {
      for (const [how, write] of [
        ["updated", "update p set v = 'new' where k = 5"],
        ["deleted", "delete from p where k = 5"],
        ["deleted and inserted again", "delete from p where k = 5; insert into p values (7, 5, 'new')"],
        [
          "updated twice and deleted",
          "update p set v = 'b' where k = 5; update p set v = 'c' where k = 5; delete from p where k = 5"
        ],
        ["moved to another key", "update p set id = id + 100 where k = 5"],
        ["moved to another partition", "update p set k = 1 where k = 5"],
        ["moved away and back", "update p set k = 1 where k = 5; update p set k = 5 where k = 1 and id = 7"]
      ] as const) {
        attack(`and are ${how} before apply were not there before it, in ${mode} mode`, (host) =>
          Effect.gen(function* () {
            const { apply, capture, db } = host
            yield* watched ? migrate(host, { watchSchema: true }) : Effect.void
            yield* db.run(...table)
            yield* apply({ table: "p", mode })
            yield* db.run("insert into p values (1, 1, 'a'), (2, 6, 'a')")
            const before = yield* host.now
            yield* db.run("insert into p values (9, 1, 'a')")
            yield* db.run(...filled("(7, 5, 'old'), (8, 5, 'old')"), write, "insert into p values (3, 1, 'a')")
            if (watched) {
              expect(yield* asOf(host, ["7", "5"], before)).toBe("BeforeCapture")
            }
            yield* apply({ table: "p", mode })
            expect(yield* asOf(host, ["7", "5"], before)).toBe("BeforeCapture")
            expect(yield* asOf(host, ["8", "5"], before)).toBe("BeforeCapture")
            expect(yield* asOf(host, ["1", "1"], before)).toBe(`"a"`)
            expect(yield* lapses(host)).not.toBe("{}")
            expect((yield* capture.status()).flatMap(({ findings }) => findings)).toEqual([])
          })
        )
      }

      attack(
        `with the image that a row had which was moved away or truncated since are not that row, in ${mode} mode`,
        (host) =>
          Effect.gen(function* () {
            const { apply, db } = host
            yield* watched ? migrate(host, { watchSchema: true }) : Effect.void
            yield* db.run(...table)
            yield* apply({ table: "p", mode })
            for (const leave of ["update p set k = 6 where k = 5", "truncate p"]) {
              yield* db.run("insert into p values (7, 5, 'same')", leave, ...filled("(7, 5, 'same')"))
              yield* apply({ table: "p", mode })
              expect(yield* asOf(host, ["7", "5"])).toBe("BeforeCapture")
              yield* db.run("alter table p detach partition p_5", "drop table p_5", "delete from p")
              yield* apply({ table: "p", mode })
            }
          })
      )

      attack(`that the record has told of are known, in ${mode} mode`, (host) =>
        Effect.gen(function* () {
          const { apply, db } = host
          yield* watched ? migrate(host, { watchSchema: true }) : Effect.void
          yield* db.run(...table, "insert into p values (1, 1, 'unseen'), (2, 6, 'unseen')")
          yield* apply({ table: "p", mode })
          yield* db.run(
            "insert into p values (3, 5, 'a'), (4, 5, 'a'), (5, 5, 'a'), (6, 1, 'a')",
            // All through the root, in one transaction and in several.
            "begin; delete from p where k = 5; create table p_5 partition of p for values in (5); insert into p values (3, 5, 'b'), (4, 5, 'b'), (9, 5, 'b'); commit",
            "update p set v = 'c'",
            "update p set id = id + 1 where k = 5 and id = 4",
            "update p set k = 5 where id in (1, 2)",
            "update p set id = 109 - id where k = 5 and id in (9, 100)",
            "delete from p where k = 5 and id = 3",
            "truncate p",
            "insert into p values (3, 5, 'd'), (9, 5, 'd')",
            "delete from p where id = 9"
          )
          yield* apply({ table: "p", mode })
          expect(yield* lapses(host)).toBe("{}")
          expect(yield* asOf(host, ["3", "5"])).toBe(`"d"`)
          expect(yield* asOf(host, ["4", "5"])).toBe("MovedTo")
        })
      )
    }
  })
}

attacks("rows that were written through the table to a partition that came since", (attack) => {
  const comings = [
    { what: "a partition", part: "p_5", come: ["create table p_5 partition of p for values in (5)"] },
    {
      what: "a partition of a partition",
      part: "p_50",
      come: [
        "create table p_5 partition of p for values in (5) partition by range (id)",
        "create table p_50 partition of p_5 for values from (0) to (100)"
      ]
    }
  ] as const
  const removals = [
    ["deleted", "delete from {part} where id = 7"],
    ["given another key", "update {part} set id = 70 where id = 7"],
    ["deleted after an update through the table", "update p set v = 'c' where id = 7; delete from {part} where id = 7"],
    ["deleted before they came again", "delete from {part} where id = 7; insert into p values (7, 5, 'c')"],
    [
      "given another value before an update through the table",
      "update {part} set v = 'x' where id = 7; update p set v = 'c' where id = 7"
    ],
    [
      "given another value before a delete through the table",
      "update {part} set v = 'x' where id = 7; delete from p where id = 7"
    ],
    [
      "given another value before they left for another partition",
      "update {part} set v = 'x' where id = 7; update p set k = 1 where id = 7"
    ],
    [
      "deleted, and another one written through the table",
      "delete from {part} where id = 7; insert into p values (6, 5, 'c')"
    ]
  ] as const
  const truncates = [
    ["truncated away", "truncate {part}"],
    ["truncated away before others came", "truncate {part}; insert into p values (6, 5, 'c')"],
    ["truncated away before they came again", "truncate {part}; insert into p values (7, 5, 'c'), (8, 5, 'b')"]
  ] as const
  for (const { come, part, what } of comings) {
    // Triggers for rows are on such a partition at once, those for TRUNCATE are not.
    for (const [mode, ways] of [
      ["statement", [...removals, ...truncates]],
      ["row", truncates]
    ] as const) {
      for (const [how, remove] of ways) {
        attack(`are a lapse if they were ${how} in it, ${what}, in ${mode} mode`, (host) =>
          Effect.gen(function* () {
            const { apply, capture, db } = host
            yield* db.run(...table)
            yield* apply({ table: "p", mode })
            yield* db.run("insert into p values (1, 1, 'a')", ...come, "insert into p values (7, 5, 'b'), (8, 5, 'b')")
            const written = String(
              yield* db.value("select captured_at::text from threadline.audit_changes where row_pk ->> 'id' = '7'")
            )
            yield* db.run(remove.replaceAll("{part}", part))
            const unseen = yield* host.now
            yield* apply({ table: "p", mode })
            expect(yield* asOf(host, ["7", "5"], unseen)).toBe("BeforeCapture")
            expect(yield* asOf(host, ["1", "1"])).toBe("BeforeCapture")
            // A row at another key is one that the record does not know at all.
            expect(yield* asOf(host, ["7", "5"], written)).toBe(remove.includes("set id") ? "BeforeCapture" : `"b"`)
            expect((yield* capture.status()).flatMap(({ findings }) => findings)).toEqual([])
            yield* db.run("update p set v = 'e'")
            expect(yield* asOf(host, ["1", "1"])).toBe(`"e"`)
          })
        )
      }
    }

    for (const mode of ["statement", "row"] as const) {
      attack(`are known if the record tells of all that was done to them: ${what}, in ${mode} mode`, (host) =>
        Effect.gen(function* () {
          const { apply, db } = host
          yield* db.run(...table)
          yield* apply({ table: "p", mode })
          yield* db.run(
            "insert into p values (1, 1, 'a'), (7, 6, 'a'), (9, 6, 'a')",
            ...come,
            "insert into p select i, 5, 'b' from generate_series(10, 30) i",
            "update p set id = id + 30 where id > 20",
            "update p set id = id + 1 where id = 60",
            "update p set k = 5 where k = 6 and id = 7",
            "update p set k = 5, id = 31 where id = 9",
            "update p set k = 1 where id = 13",
            "update p set k = 5 where id = 13",
            "delete from p where id = 14",
            "insert into p values (14, 5, 'again')",
            "delete from p where id = 15",
            "begin; insert into p values (40, 5, 'x'); savepoint s; delete from p where k = 5; rollback to s; commit"
          )
          yield* apply({ table: "p", mode })
          expect(yield* lapses(host)).toBe("{}")
          expect(yield* asOf(host, ["14", "5"])).toBe(`"again"`)
          expect(yield* asOf(host, ["15", "5"])).toBe("Deleted")
          expect(yield* asOf(host, ["7", "5"])).toBe(`"a"`)
        })
      )
    }
  }

  for (const isolation of ["read committed", "repeatable read"]) {
    attack(`are known to be gone if a TRUNCATE of the partition above is recorded, ${isolation}`, (host) =>
      Effect.gen(function* () {
        const { apply, db } = host
        yield* db.run(...table, "create table p_5 partition of p for values in (5) partition by range (id)")
        yield* apply("p")
        yield* db.run(
          "insert into p values (1, 1, 'a')",
          "create table p_50 partition of p_5 for values from (0) to (100)",
          "insert into p values (7, 5, 'b'), (8, 5, 'b')",
          `begin isolation level ${isolation}; truncate p_5; insert into p values (8, 5, 'c'); commit`
        )
        yield* apply("p")
        expect(yield* asOf(host, ["8", "5"])).toBe(`"c"`)
        expect(yield* asOf(host, ["7", "5"])).toBe("Deleted")
        expect(yield* lapses(host)).toBe("{}")
      })
    )
  }
})

attacks("rows that came with a partition beside other changes of its table", (attack) => {
  attack("count from when they came, whatever else is applied at once", (host) =>
    Effect.gen(function* () {
      const { apply, db } = host
      yield* db.run(...table)
      yield* apply("p")
      yield* db.run("insert into p values (1, 1, 'a'), (7, 5, 'a')", "delete from p where k = 5")
      yield* db.run(...filled("(7, 5, 'old')"))
      const attached = yield* host.now
      yield* db.run(
        "insert into p values (2, 1, 'a')",
        "alter table p add column extra int",
        "create table p_4 (like p including all)",
        "insert into p_4 values (8, 4, 'old')",
        "alter table p attach partition p_4 for values in (4)",
        "insert into p values (3, 1, 'a')"
      )
      yield* apply({ table: "p", mask: ["extra"] })
      expect(yield* asOf(host, ["7", "5"], attached)).toBe("BeforeCapture")
    })
  )

  attack("are noticed whatever the types of their keys, also if columns are renamed before apply", (host) =>
    Effect.gen(function* () {
      const { apply, db } = host
      yield* db.run(
        "create domain code as text check (value <> '') not null",
        `create table p ("Odd Id" uuid not null, day date not null, word text collate "C" not null, n numeric not null, c code default 'x', v text,
           primary key ("Odd Id", day, word, n)) partition by range (day, word, n)`,
        "create table p_1 partition of p for values from ('2024-01-01', 'a', 0) to ('2024-06-01', 'a', 0)"
      )
      yield* apply("p")
      yield* db.run(
        "create table p_2 partition of p for values from ('2024-06-01', 'a', 0) to ('2025-01-01', 'a', 0)",
        "insert into p values ('00000000-0000-0000-0000-000000000001', '2024-07-01', 'b', 1.50), ('00000000-0000-0000-0000-000000000001', '2024-02-01', 'b', 1.5)",
        "update p set n = 2.0",
        "delete from p where day > '2024-06-01'"
      )
      yield* apply("p")
      expect(yield* lapses(host)).toBe("{}")
      yield* db.run(
        "create table p_3 (like p including all)",
        "insert into p_3 values ('00000000-0000-0000-0000-000000000002', '2025-07-01', 'b', 1.50)",
        "alter table p attach partition p_3 for values from ('2025-01-01', 'a', 0) to ('2026-01-01', 'a', 0)",
        "alter table p rename column day to on_day",
        "delete from p where on_day > '2025-01-01'"
      )
      yield* apply("p")
      expect(yield* lapses(host)).not.toBe("{}")
    })
  )
})

attacks("partitions that came and left between two applies", (attack) => {
  const comings = [
    { what: "a new one", parent: "p", row: ["7", "5"], come: ["create table p_5 partition of p for values in (5)"] },
    {
      what: "an empty one that was attached",
      parent: "p",
      row: ["7", "5"],
      come: ["create table p_5 (like p including all)", "alter table p attach partition p_5 for values in (5)"]
    },
    {
      what: "a tree",
      parent: "p",
      row: ["7", "5"],
      come: [
        "create table p_5 partition of p for values in (5) partition by range (id)",
        "create table p_50 partition of p_5 for values from (0) to (100)"
      ]
    },
    {
      what: "one below a partition that was there",
      parent: "p_2",
      row: ["107", "2"],
      come: ["create table p_5 partition of p_2 for values from (100) to (200)"]
    }
  ] as const
  for (const mode of ["statement", "row"] as const) {
    for (const { come, parent, row, what } of comings) {
      for (const [how, leave] of [
        ["was dropped", "drop table p_5"],
        ["was detached", `alter table ${parent} detach partition p_5`]
      ] as const) {
        attack(`took the rows along that were written through the table: ${what} ${how}, in ${mode} mode`, (host) =>
          Effect.gen(function* () {
            const { apply, capture, db } = host
            yield* db.run(
              ...table,
              "create table p_2 partition of p for values in (2) partition by range (id)",
              "create table p_2a partition of p_2 for values from (0) to (100)"
            )
            yield* apply({ table: "p", mode })
            yield* db.run("insert into p values (1, 1, 'a')")
            const before = yield* host.now
            yield* db.run(...come, `insert into p values (${row.join(", ")}, 'b')`, "update p set v = 'c'")
            expect(yield* asOf(host, row)).toBe(`"c"`)
            expect(yield* db.value("select count(*) from threadline.capture_alterations")).toBe("1")
            yield* db.run(leave, "insert into p values (2, 1, 'd')")
            expect(yield* asOf(host, row)).toBe("BeforeCapture")
            expect(yield* asOf(host, ["1", "1"], before)).toBe(`"a"`)
            const found = (yield* capture.status()).flatMap(({ findings }) => findings)
            expect(found.map(({ kind }) => kind)).toContain("AlteredMeanwhile")
            yield* apply({ table: "p", mode })
            expect(yield* asOf(host, row)).toBe("BeforeCapture")
            expect(yield* asOf(host, ["1", "1"], before)).toBe(`"a"`)
            expect(yield* lapses(host)).not.toBe("{}")
            expect((yield* capture.status()).flatMap(({ findings }) => findings)).toEqual([])
            yield* db.run("update p set v = 'e'")
            expect(yield* asOf(host, ["2", "1"])).toBe(`"e"`)
          })
        )
      }
    }

    for (const isolation of ["read committed", "repeatable read", "serializable"] as const) {
      attack(`are noted by a session that wrote before it could see them, in ${mode} mode, ${isolation}`, (host) =>
        Effect.gen(function* () {
          const { apply, db } = host
          yield* db.run(...table)
          yield* apply({ table: "p", mode })
          const writer = yield* host.session()
          yield* writer.run(
            `set default_transaction_isolation = '${isolation}'`,
            "insert into p values (1, 1, 'a')",
            "begin",
            "select 1"
          )
          yield* db.run("create table p_5 partition of p for values in (5)")
          // Its snapshot is older than the partition, and PostgreSQL routes the row there all the same.
          yield* writer.run("insert into p values (7, 5, 'b')", "commit")
          expect(yield* asOf(host, ["7", "5"])).toBe(`"b"`)
          yield* writer.run(
            "insert into p values (8, 5, 'b')",
            "update p set v = 'c'",
            "insert into p values (9, 5, 'c')"
          )
          expect(yield* lapses(host)).toBe("{}")
          yield* db.run("drop table p_5")
          expect(yield* asOf(host, ["7", "5"])).toBe("BeforeCapture")
          yield* apply({ table: "p", mode })
          expect(yield* asOf(host, ["7", "5"])).toBe("BeforeCapture")
          expect(yield* asOf(host, ["8", "5"])).toBe("BeforeCapture")
        })
      )

      attack(`are noted once by a session that writes on, in ${mode} mode, ${isolation}`, (host) =>
        Effect.gen(function* () {
          const { apply, capture, db } = host
          yield* db.run(...table)
          yield* apply({ table: "p", mode })
          const writer = yield* host.session()
          yield* writer.run(
            `set default_transaction_isolation = '${isolation}'`,
            "begin",
            "create table p_5 partition of p for values in (5)",
            "insert into p values (7, 5, 'b')",
            "rollback",
            "create table p_5 partition of p for values in (5)",
            "begin; savepoint s; insert into p values (7, 5, 'b'); rollback to s; insert into p values (7, 5, 'b'); commit",
            "insert into p values (8, 5, 'b')",
            "insert into p values (9, 5, 'b')"
          )
          expect(yield* db.value("select count(*) from threadline.capture_alterations where what = 'joined'")).toBe(
            // A prepared transaction may be rolled back after its session has gone on.
            isolation === "serializable" ? "3" : "1"
          )
          // Another one that comes later is noted, too.
          yield* writer.run("create table p_6 partition of p for values in (6)", "insert into p values (1, 6, 'b')")
          yield* db.run("alter table p detach partition p_6")
          expect(yield* asOf(host, ["1", "6"])).toBe("BeforeCapture")
          yield* db.run("drop table p_6")
          yield* apply({ table: "p", mode })
          expect(yield* asOf(host, ["1", "6"])).toBe("BeforeCapture")
          expect((yield* capture.status()).flatMap(({ findings }) => findings)).toEqual([])
        })
      )
    }

    attack(`are noted without a wait for a partition that is locked, in ${mode} mode`, (host) =>
      Effect.gen(function* () {
        const { apply, db } = host
        yield* db.run(...table, "create table p_9 partition of p for values in (9)")
        yield* apply({ table: "p", mode })
        const locking = yield* host.session()
        yield* locking.run("begin; lock table p_9 in access exclusive mode")
        const writer = yield* host.session()
        // More than a moment, in one message, would be its end.
        yield* writer.run(
          "set default_transaction_isolation = 'repeatable read'; set statement_timeout = '5s'; set lock_timeout = '50ms'",
          "insert into p values (1, 1, 'a')",
          "begin; insert into p values (2, 1, 'a'); insert into p values (3, 1, 'a'); commit"
        )
        yield* locking.run("commit")
        expect(yield* asOf(host, ["3", "1"])).toBe(`"a"`)
        // Nothing is noted for it, and the plan of the session is an ordinary one.
        expect(yield* db.value("select count(*) from threadline.capture_alterations")).toBe("0")
      })
    )

    attack(
      `took their rows along, also if VACUUM has emptied their files: known ones and others, in ${mode} mode`,
      (host) =>
        Effect.gen(function* () {
          const { apply, db } = host
          yield* db.run(...table, "create table p_5 partition of p for values in (5)")
          yield* apply({ table: "p", mode })
          yield* db.run(
            "create table p_6 partition of p for values in (6)",
            "insert into p values (7, 5, 'b'), (7, 6, 'b')"
          )
          for (const part of ["p_5", "p_6"]) {
            yield* db.run(`alter table p detach partition ${part}`, `delete from ${part}`, `vacuum ${part}`)
            const key = part.slice(2)
            expect(yield* asOf(host, ["7", key])).toBe("BeforeCapture")
            yield* apply({ table: "p", mode })
            expect(yield* asOf(host, ["7", key])).toBe("BeforeCapture")
          }
        })
    )

    attack(`are noted by a prepared transaction for itself alone, in ${mode} mode`, (host) =>
      Effect.gen(function* () {
        const { apply, db } = host
        yield* db.run(...table)
        yield* apply({ table: "p", mode })
        const writer = yield* host.session()
        yield* writer.run(
          "create table p_5 partition of p for values in (5)",
          "set default_transaction_isolation = 'serializable'",
          "begin; insert into p values (6, 5, 'b'); prepare transaction 'joined'",
          "rollback prepared 'joined'",
          "insert into p values (7, 5, 'b')"
        )
        yield* db.run("drop table p_5")
        yield* apply({ table: "p", mode })
        expect(yield* asOf(host, ["7", "5"])).toBe("BeforeCapture")
      })
    )

    for (const [how, leave] of [
      ["was dropped", "drop table p_51"],
      ["left with the partition above it", "alter table p detach partition p_5"],
      [
        "left with the partition above it for a while",
        "alter table p detach partition p_5; delete from p_51; alter table p attach partition p_5 for values in (5)"
      ]
    ] as const) {
      attack(
        `are noted below a partition that came since, too, in a session that wrote there before: one ${how}, in ${mode} mode`,
        (host) =>
          Effect.gen(function* () {
            const { apply, db } = host
            yield* db.run(...table)
            yield* apply({ table: "p", mode })
            yield* db.run(
              "create table p_5 partition of p for values in (5) partition by range (id)",
              "create table p_50 partition of p_5 for values from (0) to (100)",
              "insert into p values (7, 5, 'a')",
              "insert into p values (8, 5, 'a')",
              "create table p_51 partition of p_5 for values from (100) to (200)",
              "insert into p values (107, 5, 'b')"
            )
            expect(yield* asOf(host, ["107", "5"])).toBe(`"b"`)
            yield* db.run(leave)
            expect(yield* asOf(host, ["107", "5"])).toBe("BeforeCapture")
            yield* apply({ table: "p", mode })
            expect(yield* asOf(host, ["107", "5"])).toBe("BeforeCapture")
          })
      )
    }

    attack(`are nothing if they never came for others, or are there when capture is applied, in ${mode} mode`, (host) =>
      Effect.gen(function* () {
        const { apply, capture, db } = host
        yield* db.run(...table)
        yield* apply({ table: "p", mode })
        yield* db.run(
          "insert into p values (1, 1, 'a')",
          "begin; create table p_5 partition of p for values in (5); insert into p values (7, 5, 'b'); rollback",
          "create table p_6 partition of p for values in (6)",
          "insert into p values (2, 6, 'b')",
          "create table p_7 partition of p for values in (7)",
          "insert into p select i, 5 + i % 3, 'c' from generate_series(10, 40) i",
          "alter table p_6 rename to p_six",
          "alter table p_7 rename to p_6"
        )
        yield* apply({ table: "p", mode })
        expect(yield* lapses(host)).toBe("{}")
        expect(yield* asOf(host, ["1", "1"])).toBe(`"a"`)
        expect(yield* asOf(host, ["2", "6"])).toBe(`"b"`)
        expect(yield* db.value("select count(*) from threadline.capture_alterations")).toBe("0")
        expect((yield* capture.status()).flatMap(({ findings }) => findings)).toEqual([])
      })
    )
  }
})

attacks("transactions that were open when a partition was attached", (attack) => {
  const attach = "alter table m attach partition p for values in (2)"
  const older = [
    "create table m (id int primary key, v text) partition by list (id)",
    "create table m_1 partition of m for values in (1)",
    "create table p (id int primary key, v text)",
    "create table uncaptured (id int)",
    "insert into p values (2, 'x')"
  ]
  for (const [how, before, after, attacher] of [
    ["with an older id", "update m set v = 'b' where id = 1", "", "another"],
    ["with an older id, which had written to other tables only", "insert into uncaptured values (1)", "", "another"],
    ["with the attach in a savepoint", "update m set v = 'b' where id = 1", "", "itself"],
    ["with the attach in a savepoint before its first write", "select 1", "", "itself"],
    ["with the attach in a savepoint, and more written between", "select 1", "insert into m values (3, 'c')", "itself"]
  ] as const) {
    for (const write of ["update m set v = 'y' where id = 2", "delete from m where id = 2"]) {
      attack(`write rows that came with it, which were not there before: one ${how}, ${write.slice(0, 6)}`, (host) =>
        Effect.gen(function* () {
          const { apply, db } = host
          const other = yield* host.session()
          yield* db.run(...older, "create table m_3 partition of m for values in (3, 4)")
          yield* apply("m")
          yield* db.run("insert into m values (1, 'a')")
          const instant = yield* host.now
          const earlierReaders = host.readers
          yield* other.run("begin", before)
          yield* db.run("insert into m values (4, 'd')")
          yield* attacher === "itself" ? other.run("savepoint s", attach, "release s") : db.run(attach)
          yield* other.run(after, write, "commit")
          yield* apply("m")
          expect((yield* Effect.orDie(earlierReaders.query.asOf("m", "2", instant)))._tag).toBe("BeforeCapture")
          expect((yield* Effect.orDie(earlierReaders.query.asOf("m", "1", instant)))._tag).toBe("Present")
          expect(yield* lapses(host)).not.toBe("{}")
        })
      )
    }
  }

  attack("change nothing if the attach was rolled back to a savepoint, or only known rows are written", (host) =>
    Effect.gen(function* () {
      const { apply, db } = host
      const other = yield* host.session()
      yield* db.run(...older, "create table m_rest partition of m default")
      yield* apply("m")
      yield* db.run("insert into m values (1, 'a'), (2, 'a')", "update m set v = 'b'")
      const instant = yield* host.now
      yield* db.run("create table q (id int primary key, v text)")
      yield* other.run(
        "begin",
        "update m set v = 'c'",
        "savepoint s",
        "alter table m attach partition q for values in (5)",
        "insert into m values (5, 'a')",
        "rollback to s",
        "update m set v = 'd'",
        "insert into m values (5, 'a')",
        "delete from m where id = 2",
        "commit",
        "begin",
        "update m set v = 'e' where id = 5",
        "delete from m where id = 5"
      )
      yield* apply("m")
      expect(yield* lapses(host)).toBe("{}")
      yield* other.run("commit")
      yield* db.run("create table m_2 partition of m for values in (2)")
      yield* db.run("insert into m values (2, 'f')", "update m set v = 'g'", "delete from m where id = 2")
      yield* apply("m")
      expect(yield* lapses(host)).toBe("{}")
      const { query } = host.readers
      expect(yield* Effect.orDie(query.asOf("m", "2", instant))).toMatchObject({ _tag: "Present", row: { v: "b" } })
    })
  )
})
