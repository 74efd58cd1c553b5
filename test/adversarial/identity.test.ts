/** Which physical table a change is of, whatever becomes of names, OIDs and triggers. */
import { expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Capture from "../../src/Capture.js"
import { asOf, attacks, type Host, lastChange, restored } from "../support/adversarial.js"

const story = (host: Pick<Host, "db">) =>
  Effect.map(
    host.db.rows(
      "select table_schema || '.' || table_name || ' ' || op || coalesce(' ' || row_key, '') as line from threadline.audit_changes order by id"
    ),
    (rows) => rows.map(({ line }) => line)
  )

/** Roles belong to the whole server: another test may make members of the owner. */
const ofThisTable = ({ kind }: Capture.Finding) => kind !== "OwnerHasMembers"

const said = (statuses: ReadonlyArray<Capture.TableStatus>, table: string) =>
  statuses
    .filter((status) => status.table === table)
    .flatMap(({ findings }) =>
      findings.filter(ofThisTable).map((finding) => `${finding.kind}: ${Capture.describeFinding(finding)}`)
    )

attacks("after a restore", (attack) => {
  for (const mode of ["statement", "row"] as const) {
    attack(`a renamed table, root or schema goes on being written, under its new name, in ${mode} mode`, (host) =>
      Effect.gen(function* () {
        const { apply, capture, db } = host
        yield* db.run(
          "create table posts (id int primary key)",
          "create table events (id int primary key) partition by list (id)",
          "create table events_1 partition of events for values in (1)",
          "create schema shop",
          "create table shop.carts (id int primary key)"
        )
        yield* apply(...["posts", "events", "shop.carts"].map((table) => ({ table, mode })))
        yield* db.run(
          restored,
          "alter table posts rename to articles",
          "alter table events rename to happenings",
          "alter schema shop rename to store",
          "insert into articles values (1)",
          "insert into happenings values (1)",
          "delete from events_1",
          "insert into store.carts values (1)",
          "truncate articles"
        )
        expect(yield* story(host)).toEqual([
          "public.articles insert 1",
          "public.happenings insert 1",
          "public.happenings delete 1",
          "store.carts insert 1",
          "public.articles truncate"
        ])
        const statuses = yield* capture.status()
        expect(statuses.map((status) => [status.table, said([status], status.table)])).toEqual([
          ["public.events", ["TableRenamed: it is now public.happenings"]],
          ["public.posts", ["TableRenamed: it is now public.articles"]],
          ["shop.carts", ["TableRenamed: it is now store.carts"]]
        ])
        yield* apply(...["articles", "happenings", "store.carts"].map((table) => ({ table, mode })))
        expect((yield* capture.status()).map(({ captured, findings, table }) => [table, captured, findings])).toEqual([
          ["public.articles", true, []],
          ["public.happenings", true, []],
          ["store.carts", true, []]
        ])
        yield* db.run("insert into articles values (2)", "insert into events_1 values (1)")
        expect((yield* story(host)).slice(-2)).toEqual(["public.articles insert 2", "public.happenings insert 1"])
      })
    )
  }

  attack("a schema cloned with its triggers is recorded under its own names, and the mend names it", (host) =>
    Effect.gen(function* () {
      const { apply, capture, db } = host
      yield* db.run("create schema one", "create table one.posts (id int primary key)")
      yield* apply("one.posts")
      const triggers = yield* db.column(
        "select replace(pg_get_triggerdef(oid), 'one.posts', 'two.posts') from pg_trigger where tgrelid = 'one.posts'::regclass"
      )
      yield* db.run(
        "create schema two",
        "create table two.posts (like one.posts including all)",
        ...triggers.map(String),
        "insert into one.posts values (1)",
        "insert into two.posts values (2)"
      )
      expect(yield* story(host)).toEqual(["one.posts insert 1", "two.posts insert 2"])
      expect(said(yield* capture.status(), "one.posts")).toEqual([
        "TriggersElsewhere: tables that are not captured have its triggers: two.posts; they are recorded under their own names"
      ])
      // Nothing of the clone is taken away when the original is applied, and it can be applied itself.
      yield* apply({ table: "one.posts", truncate: "refuse" })
      yield* db.run("insert into two.posts values (3)")
      yield* apply("two.posts")
      yield* db.run("insert into two.posts values (4)", "insert into one.posts values (4)")
      expect((yield* story(host)).slice(2)).toEqual(["two.posts insert 3", "two.posts insert 4", "one.posts insert 4"])
      expect((yield* capture.status()).map(({ captured, findings, table }) => [table, captured, findings])).toEqual([
        ["one.posts", true, []],
        ["two.posts", true, []]
      ])
    })
  )
})

attacks("where nobody saw what happened,", (attack) => {
  const two = ["create table g (id int primary key, v text)", "create table g_new (id int primary key, v text)"]

  attack("two captured tables that exchange names are told apart in time", (host) =>
    Effect.gen(function* () {
      const { apply, capture, db } = host
      yield* db.run(...two)
      yield* apply("g", "g_new")
      yield* db.run("insert into g_new values (1, 'new')", "insert into g values (1, 'old'), (2, 'old')")
      const before = yield* lastChange(host)
      yield* db.run(
        "begin; alter table g rename to g_old; alter table g_new rename to g; alter table g_old rename to g_new; commit",
        "update g set v = 'newer'",
        "update g_new set v = 'older' where id = 1"
      )
      // Before anybody has looked, and after.
      expect(yield* asOf(host, "g", "2")).toBe("BeforeCapture")
      expect(said(yield* capture.status(), "public.g")[0]).toContain("TableReplaced")
      yield* apply("g", "g_new")
      expect(yield* capture.plan([{ table: "g" }, { table: "g_new" }])).toEqual([])
      expect((yield* capture.status()).flatMap(({ findings }) => findings)).toEqual([])
      expect(yield* asOf(host, "g", "1", before)).toBe(`Present "new"`)
      expect(yield* asOf(host, "g", "2", before)).toBe("BeforeCapture")
      expect(yield* asOf(host, "g_new", "1", before)).toBe(`Present "old"`)
      expect(yield* asOf(host, "g_new", "2", before)).toBe(`Present "old"`)
      expect(yield* asOf(host, "g", "1")).toBe(`Present "newer"`)
      expect(yield* asOf(host, "g", "2")).toBe("BeforeCapture")
      expect(yield* asOf(host, "g_new", "1")).toBe(`Present "older"`)
      expect(yield* asOf(host, "g_new", "2")).toBe(`Present "old"`)
      yield* db.run("update g set v = 'newest'", "delete from g_new where id = 1")
      expect(yield* asOf(host, "g", "1")).toBe(`Present "newest"`)
      expect(yield* asOf(host, "g_new", "1")).toBe("Deleted")
    })
  )

  attack("names exchanged after a restore begin a lapse", (host) =>
    Effect.gen(function* () {
      const { apply, db } = host
      yield* db.run(...two)
      yield* apply("g", "g_new")
      yield* db.run("insert into g values (1, 'g'), (2, 'g')", "insert into g_new values (1, 'new')", restored)
      expect(yield* asOf(host, "g", "2")).toBe(`Present "g"`)
      yield* db.run("alter table g rename to h; alter table g_new rename to g; alter table h rename to g_new")
      expect(yield* asOf(host, "g", "2")).toBe("BeforeCapture")
      yield* db.run("update g set v = 'newer'")
      expect(yield* asOf(host, "g", "2")).toBe("BeforeCapture")
      yield* apply("g", "g_new")
      expect(yield* asOf(host, "g", "2")).toBe("BeforeCapture")
      yield* db.run("update g set v = 'newest'")
      expect(yield* asOf(host, "g", "1")).toBe(`Present "newest"`)
    })
  )

  attack("names exchanged and exchanged back leave a lapse if something was written meanwhile", (host) =>
    Effect.gen(function* () {
      const { apply, db } = host
      yield* db.run(...two)
      yield* apply("g", "g_new")
      const exchange = "alter table g rename to h; alter table g_new rename to g; alter table h rename to g_new"
      yield* db.run("insert into g values (1, 'g')", "insert into g_new values (1, 'new')", exchange, exchange)
      expect(yield* asOf(host, "g", "1")).toBe(`Present "g"`)
      yield* db.run(exchange, "insert into g values (2, 'of the other')", exchange)
      expect(yield* asOf(host, "g", "2")).toBe("BeforeCapture")
      yield* apply("g", "g_new")
      expect(yield* asOf(host, "g", "2")).toBe("BeforeCapture")
    })
  )

  attack(
    "a table swapped by rename for a copy that is not captured has a lapse, and goes on under its new name",
    (host) =>
      Effect.gen(function* () {
        const { apply, capture, db } = host
        yield* db.run("create table g (id int primary key, v text)")
        yield* apply("g")
        yield* db.run("insert into g values (1, 'kept'), (2, 'gone')")
        const before = yield* lastChange(host)
        yield* db.run(
          "create table copy (like g including all)",
          "insert into copy select * from g where id = 1",
          "begin; alter table g rename to g_old; alter table copy rename to g; commit",
          "update g set v = 'unseen'",
          "update g_old set v = 'seen' where id = 2"
        )
        expect(yield* asOf(host, "g", "1")).toBe("BeforeCapture")
        expect(yield* asOf(host, "g", "2")).toBe("BeforeCapture")
        expect(yield* asOf(host, "g", "2", before)).toBe(`Present "gone"`)
        expect(said(yield* capture.status(), "public.g")[0]).toContain("TableReplaced")
        yield* apply("g")
        expect(yield* asOf(host, "g", "2")).toBe("BeforeCapture")
        yield* db.run("update g set v = 'seen'", "insert into g_old values (3, 'still')")
        expect(yield* asOf(host, "g", "1")).toBe(`Present "seen"`)
        expect((yield* story(host)).slice(-2)).toEqual(["public.g update 1", "public.g_old insert 3"])
      })
  )

  attack("a schema of the host restored alone over a living database has a lapse", (host) =>
    Effect.gen(function* () {
      const { apply, capture, db } = host
      yield* db.run("create schema shop", "create table shop.g (id int primary key, v text)")
      yield* apply("shop.g")
      yield* db.run("insert into shop.g values (1, 'a'), (2, 'a')", "update shop.g set v = 'b'")
      const before = yield* lastChange(host)
      const triggers = yield* db.column(
        "select pg_get_triggerdef(oid) from pg_trigger where tgrelid = 'shop.g'::regclass"
      )
      yield* db.run(
        "drop schema shop cascade",
        "create schema shop",
        "create table shop.g (id int primary key, v text)",
        "insert into shop.g values (1, 'a')",
        ...triggers.map(String),
        "insert into shop.g values (3, 'c')"
      )
      expect(yield* asOf(host, "shop.g", "1")).toBe("BeforeCapture")
      expect(yield* asOf(host, "shop.g", "2")).toBe("BeforeCapture")
      expect(said(yield* capture.status(), "shop.g")[0]).toContain("TableReplaced")
      yield* apply("shop.g")
      expect(yield* asOf(host, "shop.g", "2")).toBe("BeforeCapture")
      expect(yield* asOf(host, "shop.g", "2", before)).toBe(`Present "b"`)
      expect((yield* capture.status()).flatMap(({ findings }) => findings)).toEqual([])
    })
  )

  attack(
    "a table that was written under another name for a while: status says so, and apply finds what was written",
    (host) =>
      Effect.gen(function* () {
        const { apply, capture, db } = host
        yield* db.run("create table g (id int primary key, v text)")
        yield* apply("g")
        yield* db.run(
          "insert into g values (1, 'a')",
          "alter table g rename to aside",
          "update aside set v = 'b'",
          "alter table aside rename to g"
        )
        expect(yield* asOf(host, "g", "1")).toBe("BeforeCapture")
        expect(yield* host.findings({ table: "g" })).toEqual(["AlteredMeanwhile"])
        expect((yield* capture.plan([{ table: "g" }])).map(({ kind }) => kind)).toEqual(["follow"])
        yield* apply("g")
        expect(yield* host.findings({ table: "g" })).toEqual([])
        expect(yield* asOf(host, "g", "1")).toBe('Present "b"')
      })
  )

  attack("a table that had another name for a while has a lapse, also if it was dropped and created again", (host) =>
    Effect.gen(function* () {
      const { apply, db } = host
      yield* db.run("create table g (id int primary key, v text, w text)")
      yield* apply("g")
      yield* db.run("insert into g values (1, 'a', 'a')")
      const before = yield* lastChange(host)
      yield* db.run("update g set w = 'b'")
      const then = yield* lastChange(host)
      yield* db.run(
        "begin; alter table g rename to aside; update aside set v = 'b'; alter table aside rename to g; commit",
        "update g set w = 'c'"
      )
      const after = yield* lastChange(host)
      yield* db.run("drop table g", "create table g (id int primary key, v text, w text)")
      for (const applied of [false, true]) {
        if (applied) {
          yield* apply("g")
        }
        expect(yield* asOf(host, "g", "1", before)).toBe(`Present "a"`)
        // Rebuilt from the change after the lapse, it would have the value that was written under the other name.
        expect(["BeforeCapture", `Present "a"`]).toContain(yield* asOf(host, "g", "1", then))
        expect(yield* asOf(host, "g", "1", after)).toBe("BeforeCapture")
      }
    })
  )

  attack("triggers that are off are a lapse before anybody applies", (host) =>
    Effect.gen(function* () {
      const { apply, db } = host
      yield* db.run("create table g (id int primary key, v text)")
      yield* apply("g")
      yield* db.run("insert into g values (1, 'a')")
      const before = yield* host.now
      yield* db.run("alter table g disable trigger user", "delete from g")
      expect(yield* asOf(host, "g", "1")).toBe("BeforeCapture")
      yield* apply("g")
      expect(yield* asOf(host, "g", "1")).toBe("BeforeCapture")
      expect(yield* asOf(host, "g", "1", before)).toBe("BeforeCapture")
    })
  )

  for (const [what, mode, partition] of [
    ["a table", "statement", []],
    ["a partitioned table in statement mode", "statement", ["create table g_1 partition of g default"]],
    ["a partitioned table in row mode", "row", ["create table g_1 partition of g default"]]
  ] as const) {
    attack(`triggers that are off after ${what} was renamed are a lapse, under either name`, (host) =>
      Effect.gen(function* () {
        const { apply, capture, db } = host
        yield* db.run(
          `create table g (id int primary key, v text)${partition.length === 0 ? "" : " partition by list (id)"}`,
          ...partition
        )
        yield* apply({ table: "g", mode })
        yield* db.run(
          "insert into g values (1, 'a'), (2, 'b')",
          "alter table g rename to h",
          "insert into h values (3, 'c')"
        )
        const before = yield* host.now
        yield* db.run("update h set v = 'd' where id = 3")
        yield* db.run("alter table h disable trigger user", "delete from h where id = 1")
        const lost = yield* host.now
        expect(yield* asOf(host, "g", "1", lost)).toBe("BeforeCapture")
        const steps = yield* apply({ table: "h", mode })
        expect(steps.map(({ kind }) => kind)).toEqual(["follow", "regenerate"])
        expect(yield* asOf(host, "h", "1", lost)).toBe("BeforeCapture")
        expect(yield* asOf(host, "h", "1", before)).toBe(`Present "a"`)
        expect(said(yield* capture.status(), "public.h")).toEqual([])
        yield* db.run("delete from h where id = 2")
        expect(yield* asOf(host, "h", "2")).toBe("Deleted")
      })
    )
  }

  const parts = [
    "create table p (id int, day int, v text, primary key (id, day)) partition by list (day)",
    "create table p_1 partition of p for values in (1)",
    "create table p_2 partition of p for values in (2)",
    "create table p_rest partition of p default"
  ]

  for (const mode of ["statement", "row"] as const) {
    attack(`a partition that was dropped, or detached, took its rows along, in ${mode} mode`, (host) =>
      Effect.gen(function* () {
        const { apply, capture, db } = host
        for (const leave of ["drop table p_2", "alter table p detach partition p_2"]) {
          yield* db.run("drop table if exists p, p_2", "truncate threadline.audit_changes, threadline.capture_policies")
          yield* db.run(...parts)
          yield* apply({ table: "p", mode })
          yield* db.run("insert into p values (1, 1, 'a'), (2, 2, 'a')")
          const before = yield* host.now
          yield* db.run(leave)
          expect(yield* asOf(host, "p", '["2","2"]')).toBe("BeforeCapture")
          expect(said(yield* capture.status(), "public.p").some((each) => each.startsWith("PartitionDetached"))).toBe(
            true
          )
          yield* apply({ table: "p", mode })
          expect(yield* asOf(host, "p", '["2","2"]')).toBe("BeforeCapture")
          expect(yield* asOf(host, "p", '["2","2"]', before)).toBe("BeforeCapture")
          expect((yield* capture.status()).flatMap(({ findings }) => findings)).toEqual([])
          yield* db.run("update p set v = 'b' where id = 1")
          expect(yield* asOf(host, "p", '["1","1"]')).toBe(`Present "b"`)
        }
      })
    )

    attack(`a partition detached, changed and attached again is not the one it was, in ${mode} mode`, (host) =>
      Effect.gen(function* () {
        const { apply, capture, db } = host
        yield* db.run(...parts)
        yield* apply({ table: "p", mode })
        yield* db.run(
          "insert into p values (1, 1, 'a'), (2, 2, 'a')",
          "alter table p detach partition p_2",
          "set session_replication_role = replica",
          "update p_2 set v = 'unseen'",
          "reset session_replication_role",
          "alter table p attach partition p_2 for values in (2)"
        )
        expect(yield* asOf(host, "p", '["2","2"]')).toBe("BeforeCapture")
        expect(said(yield* capture.status(), "public.p").map((each) => each.split(":")[0])).toContain(
          "PartitionReplaced"
        )
        expect((yield* capture.plan([{ table: "p", mode }])).map(({ kind }) => kind)).toContain("refresh")
        yield* apply({ table: "p", mode })
        expect(yield* asOf(host, "p", '["2","2"]')).toBe("BeforeCapture")
        expect((yield* capture.status()).flatMap(({ findings }) => findings)).toEqual([])
        expect(yield* capture.plan([{ table: "p", mode }])).toEqual([])
      })
    )

    attack(
      `rows that joined with a partition are a lapse, those that the record knows are none, in ${mode} mode`,
      (host) =>
        Effect.gen(function* () {
          const { apply, db } = host
          yield* db.run(...parts)
          yield* apply({ table: "p", mode })
          yield* db.run("insert into p values (1, 1, 'a'), (3, 3, 'a')")
          // A new partition whose rows all came through the root tells nothing new.
          yield* db.run("create table p_4 partition of p for values in (4)", "insert into p values (4, 4, 'a')")
          yield* apply({ table: "p", mode })
          expect(yield* asOf(host, "p", '["1","1"]')).toBe(`Present "a"`)
          expect(yield* asOf(host, "p", '["4","4"]')).toBe(`Present "a"`)
          // As partition managers move rows out of the default partition.
          yield* db.run(
            "create table p_3 (like p including all)",
            "begin; with moved as (delete from p_rest where day = 3 returning *) insert into p_3 select * from moved; " +
              "alter table p attach partition p_3 for values in (3); commit"
          )
          yield* apply({ table: "p", mode })
          expect(yield* asOf(host, "p", '["3","3"]')).toBe("BeforeCapture")
          yield* db.run("update p set v = 'b'")
          expect(yield* asOf(host, "p", '["3","3"]')).toBe(`Present "b"`)
        })
    )
  }

  for (const [what, inherit, missed] of [
    [
      "inherits from another table",
      "alter table t inherit base",
      "update base set v = 'through the parent' where id = 1"
    ],
    [
      "gets a child",
      "create table child (primary key (id)) inherits (t); insert into child values (1, 'of the child')",
      "update t set v = 'of both' where id = 1"
    ]
  ] as const) {
    attack(`a table that is captured by statements and ${what} has a lapse`, (host) =>
      Effect.gen(function* () {
        const { apply, capture, db } = host
        yield* db.run("create table base (id int, v text)", "create table t (id int primary key, v text)")
        yield* apply("t")
        yield* db.run("insert into t values (1, 'a'), (2, 'b')")
        const before = yield* lastChange(host)
        expect(yield* capture.plan([{ table: "t" }])).toEqual([])
        yield* db.run(inherit, missed)
        // Statement triggers of a child do not fire, and those of a parent see the rows of both.
        expect([yield* asOf(host, "t", "1"), yield* asOf(host, "t", "2")]).toEqual(["BeforeCapture", "BeforeCapture"])
        expect(yield* asOf(host, "t", "1", before)).toBe('Present "a"')
        expect(said(yield* capture.status(), "public.t").join()).toContain("mode")
        const [step] = yield* apply("t")
        expect(step).toMatchObject({ kind: "regenerate", lapse: true })
        expect(yield* capture.plan([{ table: "t" }])).toEqual([])
        expect(yield* asOf(host, "t", "1")).toBe("BeforeCapture")
        yield* db.run("update base set v = 'seen' where id = 2", "update t set v = 'seen' where id = 2")
        expect(yield* asOf(host, "t", "2")).toBe('Present "seen"')
      })
    )
  }

  for (const [what, inherit, missed, undo] of [
    [
      "inherited from another table",
      "alter table t inherit base",
      "update base set v = 'through the parent' where id = 1; insert into t values (3, 'c')",
      "alter table t no inherit base"
    ],
    [
      "had a child",
      "create table child (primary key (id)) inherits (t); insert into child values (1, 'of the child')",
      "update t set v = 'of both' where id = 1",
      "drop table child"
    ]
  ] as const) {
    attack(`a table that is captured by statements and ${what} for a while has a lapse`, (host) =>
      Effect.gen(function* () {
        const { apply, capture, db } = host
        yield* db.run("create table base (id int, v text)", "create table t (id int primary key, v text)")
        yield* apply("t")
        yield* db.run("insert into t values (1, 'a'), (2, 'b')")
        const before = yield* lastChange(host)
        yield* db.run(inherit, missed, undo)
        expect([yield* asOf(host, "t", "1"), yield* asOf(host, "t", "2")]).toEqual(["BeforeCapture", "BeforeCapture"])
        expect(yield* asOf(host, "t", "1", before)).toBe('Present "a"')
        expect(said(yield* capture.status(), "public.t").join()).toContain("AlteredMeanwhile")
        expect(yield* apply("t")).toMatchObject([{ kind: "refresh", lapse: true }])
        expect(yield* capture.plan([{ table: "t" }])).toEqual([])
        expect(yield* asOf(host, "t", "1")).toBe("BeforeCapture")
        yield* db.run("update t set v = 'seen' where id = 2")
        expect(yield* asOf(host, "t", "2")).toBe('Present "seen"')
      })
    )
  }

  attack("an unlogged table is warned of", (host) =>
    Effect.gen(function* () {
      const { apply, capture, db } = host
      yield* db.run("create unlogged table u (id int primary key)")
      yield* apply("u")
      expect(said(yield* capture.status(), "public.u")).toEqual([
        "TableUnlogged: it is unlogged: a crash empties it, and its rows are not known from then on"
      ])
    })
  )

  for (const [what, table, key, before, alter, after, rewritten] of [
    [
      "gets another column",
      "id int primary key, tenant int not null default 7, v text",
      "1",
      `insert into k (id, v) values (1, 'a'), (2, 'a')`,
      "alter table k drop constraint k_pkey, add primary key (tenant, id)",
      '["7","1"]',
      "update k set v = 'b'"
    ],
    [
      "is another column of the same name",
      "id int primary key, v text",
      "1",
      "insert into k values (1, 'a'), (2, 'a')",
      "alter table k drop column id; alter table k add column id uuid not null default '00000000-0000-0000-0000-000000000001'; delete from k where v = 'x'; update k set id = gen_random_uuid() where ctid <> '(0,1)'; alter table k add primary key (id)",
      undefined,
      "update k set v = 'b'"
    ],
    [
      "has other values",
      "id int primary key, v text",
      "1",
      "insert into k values (1, 'a'), (2, 'a')",
      "alter table k alter id type bigint using id + 1",
      "2",
      "update k set v = 'b'"
    ],
    [
      "is an enum whose value has another name",
      "id state primary key, v text",
      "open",
      "insert into k values ('open', 'a')",
      "alter type state rename value 'open' to 'opened'",
      "opened",
      "update k set v = 'b'"
    ]
  ] as const) {
    attack(`a key that ${what}: what was known stays readable, and nothing is mistaken for it`, (host) =>
      Effect.gen(function* () {
        const { apply, capture, db } = host
        yield* db.run("create type state as enum ('open', 'closed')", `create table k (${table})`)
        yield* apply("k")
        yield* db.run(before)
        const then = yield* lastChange(host)
        expect(yield* asOf(host, "k", key)).toBe(`Present "a"`)
        yield* db.run(alter)
        // Nobody has looked yet.
        expect(yield* asOf(host, "k", key)).toBe("BeforeCapture")
        expect((yield* capture.plan([{ table: "k" }])).length).toBeGreaterThan(0)
        const kinds = said(yield* capture.status(), "public.k")
        expect(kinds.some((each) => /Key|Column/.test(each))).toBe(true)
        yield* apply("k")
        expect(said(yield* capture.status(), "public.k")).toEqual([])
        expect(yield* capture.plan([{ table: "k" }])).toEqual([])
        expect(yield* asOf(host, "k", key)).toBe("BeforeCapture")
        yield* db.run(rewritten)
        if (after !== undefined) {
          expect(yield* asOf(host, "k", after)).toBe(`Present "b"`)
        }
        expect(yield* asOf(host, "k", key, then)).toBe(`Present "a"`)
      })
    )
  }
})
