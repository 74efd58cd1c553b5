/** Functions and operators of a role that may create objects in the search path: no read calls them. */
import { expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { stringify } from "../../src/internal/core/json.js"
import * as Feed from "../../src/Feed.js"
import * as Query from "../../src/Query.js"
import { attacks, type Host, reading } from "../support/adversarial.js"

const types = [
  "text",
  "name",
  "jsonb",
  "json",
  "bigint",
  "int",
  "numeric",
  "boolean",
  "timestamptz",
  "oid",
  "xid8",
  '"char"',
  "text[]",
  "bigint[]",
  "jsonb[]",
  "tstzrange",
  "tstzmultirange"
]

const pairs: ReadonlyArray<readonly [string, string]> = [
  ...types.map((type) => [type, type] as const),
  ...types.flatMap((type) => [["text", type] as const, [type, "text"] as const]),
  ["jsonb", "int"],
  ["jsonb", "text[]"],
  ["numeric", "int"],
  ["numeric", "bigint"],
  ["bigint", "numeric"],
  ["int", "numeric"],
  ["tstzmultirange", "timestamptz"],
  ["tstzrange", "timestamptz"],
  ["timestamptz", "tstzrange"],
  ["text[]", "int"]
]

const ofOne =
  "to_json to_jsonb unnest cardinality lower upper isempty quote_ident floor length jsonb_typeof jsonb_array_elements jsonb_each jsonb_array_elements_text jsonb_object_keys json_build_array jsonb_build_array concat host abbrev lead lag"
const ofTwo =
  "json_build_object jsonb_build_object json_build_array jsonb_build_array format concat concat_ws array_length array_to_string array_append array_cat left strpos regexp_replace has_schema_privilege pg_has_role greatest"
const aggregates = "json_agg jsonb_agg array_agg min max count bool_or string_agg"
const operators = "|| = <> < > <= >= @> <@ && -> ->> #> #>> ? ?| - + *"

/** Each of them raises an error if it is called. What exists already in this form, or cannot be, is left out. */
const overloads = `
  do $do$
  declare
    x record;
  begin
    for x in
      select format('create function public.%s(%s) returns text language plpgsql as $f$ begin raise exception ''called''; end $f$', f, a) as sql
      from unnest(string_to_array('${ofOne}', ' ')) f
      cross join unnest(array[${types.map((type) => `'${type}'`).join()}]) a
      union all
      select format('create function public.%s(%s, %s) returns text language plpgsql as $f$ begin raise exception ''called''; end $f$', f, a, b)
      from unnest(string_to_array('${ofTwo}', ' ')) f
      cross join (values ${pairs.map(([a, b]) => `('${a}', '${b}')`).join()}) p (a, b)
      union all
      select format('create function public.%s(text, %s, text, %s) returns text language plpgsql as $f$ begin raise exception ''called''; end $f$', f, a, b)
      from unnest('{json_build_object,jsonb_build_object}'::text[]) f
      cross join unnest(array[${types.map((type) => `'${type}'`).join()}]) a
      cross join unnest('{text,bigint,jsonb,json,text[]}'::text[]) b
      union all
      select format('create aggregate public.%s(%s) (sfunc = array_append, stype = %s)', f, a, a || '[]')
      from unnest(string_to_array('${aggregates}', ' ')) f
      cross join unnest('{text,jsonb,json,bigint,int,boolean,timestamptz,name}'::text[]) a
      union all
      select format('create function public.called(%s, %s) returns boolean language plpgsql as $f$ begin raise exception ''called''; end $f$', a, b)
      from (values ${pairs.map(([a, b]) => `('${a}', '${b}')`).join()}) p (a, b)
      union all
      select format('create operator public.%s (leftarg = %s, rightarg = %s, function = public.called)', o, a, b)
      from unnest(string_to_array('${operators}', ' ')) o
      cross join (values ${pairs.map(([a, b]) => `('${a}', '${b}')`).join()}) p (a, b)
      where to_regoperator(format('pg_catalog.%s(%s, %s)', o, a, b)) is null
    loop
      begin
        execute x.sql;
      exception when others then
        null;
      end;
    end loop;
  end
  $do$`

const reads = (at: string): { readonly [name: string]: Effect.Effect<unknown, unknown, Query.Query | Feed.Feed> } => ({
  timeline: Query.timeline({ table: "t" }),
  filtered: Query.timeline({ contains: { v: "a" }, changedField: "v", actor: { type: "user", id: "u" } }),
  labelled: Query.timeline({ actorLabel: "Uma" }),
  transactions: Query.transactions({}),
  correlated: Query.transactions({ correlationId: "k" }),
  asOf: Query.asOf("t", 1, at),
  asOfRows: Query.asOfRows("t", at, { contains: { v: "b" } }),
  asOfParts: Query.asOfRows("parts", at),
  asOfKeys: Query.asOfKeys("t", [1, 2], at),
  history: Query.history("t", 1),
  diff: Query.diffBetween("t", 1, "2020-01-01T00:00:00Z", at),
  incident: Query.incident("1"),
  correlation: Query.correlation("k"),
  actorWindow: Query.actorWindow({ type: "user", id: "u" }),
  actions: Query.actions({}),
  count: Query.count({}),
  names: Query.names("t"),
  columns: Query.columns("t"),
  knowledge: Query.knowledge("t"),
  schemaEvents: Query.schemaEvents({}),
  related: Query.asOfWith("child", 1, at, { parent: { table: "t", columns: { t_id: "id" } } }),
  unknownTable: Query.timeline({ table: "tt" }),
  unknownColumn: Query.timeline({ table: "t", changedField: "zz" }),
  feed: Effect.flatMap(Feed.Feed, (feed) => Effect.map(feed.read(), ({ changes }) => changes))
})

const answers = (host: Host, at: string) =>
  Effect.forEach(Object.entries(reads(at)), ([name, read]) =>
    Effect.map(
      reading(host, Effect.either(read)),
      (result) => `${name}: ${result._tag === "Left" ? String(result.left) : stringify(result.right)}`
    )
  )

attacks("objects of others in the search path", (attack) => {
  attack("are called by no read, whatever fits better than a function or operator of PostgreSQL", (host) =>
    Effect.gen(function* () {
      const { apply, db } = host
      yield* db.run(
        "create table t (id int primary key, v text)",
        "create table child (id int primary key, t_id int, v text)",
        "create table parts (a int, b text, v text, primary key (a, b))"
      )
      yield* apply("t", "child", "parts")
      yield* db.run(
        `begin; select threadline.set_context('{"actor": {"type": "user", "id": "u", "label": "Uma"}, "correlationId": "k"}'); ` +
          "insert into t values (1, 'a'), (2, 'b'); insert into child values (1, 1, 'x'); insert into parts values (1, 'x', 'y'); " +
          "update t set v = 'c' where id = 1; select threadline.record_action('{\"name\": \"n\"}'); commit",
        "delete from t where id = 2; insert into t values (2, 'b'), (3, 'd')"
      )
      const at = yield* host.now
      const before = yield* answers(host, at)
      yield* db.run(overloads)
      expect(
        Number(yield* db.value("select count(*) from pg_operator where oprnamespace = 'public'::regnamespace"))
      ).toBeGreaterThan(300)
      expect(yield* answers(host, at)).toEqual(before)
    })
  )
})
