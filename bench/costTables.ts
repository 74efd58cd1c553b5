/** The tables whose writes are counted, and the writes. */
import { type Op, ops } from "./contestants.js"

export interface Table {
  readonly name: string
  readonly partitioned: boolean
  readonly redacted: boolean
  /** Columns after the key, with the value of the row `i`. The first one is what updates change. */
  readonly columns: ReadonlyArray<readonly [name: string, type: string, value: (i: string) => string]>
}

const ten: Table["columns"] = [
  ["balance", "numeric(18, 4) not null", (i) => `${i} * 1.5`],
  ["version", "int not null", () => "1"],
  ["email", "text not null", (i) => `'user' || ${i} || '@example.test'`],
  ["name", "text not null", (i) => `'Name ' || ${i}`],
  ["status", "text not null", () => "'active'"],
  ["settings", "jsonb not null", () => `'{"theme": "dark", "n": 1}'`],
  ["note", "text", () => "repeat('x', 300)"],
  ["created_at", "timestamptz not null", () => "now()"],
  ["updated_at", "timestamptz not null", () => "now()"]
]

const table = (name: string, columns: Table["columns"], more: Partial<Table> = {}): Table => ({
  name,
  columns,
  partitioned: false,
  redacted: false,
  ...more
})

export const ordinary = table("accounts", ten)
export const partitioned = table("parts", ten, { partitioned: true })
export const redacted = table("redacted", ten, { redacted: true })
export const narrow = table("narrow", ten.slice(0, 4))
export const wide = table("wide", [
  ...ten,
  ...Array.from({ length: 50 }, (_, n): Table["columns"][number] =>
    n % 2 === 0 ? [`field_${n}`, "text", (i) => `'value ' || ${i}`] : [`field_${n}`, "int", (i) => `${i} + ${n}`]
  )
])

export const tables: ReadonlyArray<Table> = [ordinary, partitioned, redacted, narrow, wide]

/** Rows that a table holds from the start. */
const rows = 20_000

/** Room on each page, so that an update of a column without an index stays on its page. */
const room = "with (fillfactor = 60)"

const values = (columns: Table["columns"], i: string): string => columns.map(([, , value]) => value(i)).join(", ")

export const create = ({ columns, name, partitioned }: Table): string => `
create table ${name} (
  id bigint primary key, ${columns.map(([column, type]) => `${column} ${type}`).join(", ")}
) ${partitioned ? "partition by hash (id)" : room};
${
  partitioned
    ? [0, 1, 2, 3]
        .map(
          (n) => `create table ${name}_${n} partition of ${name} for values with (modulus 4, remainder ${n}) ${room};`
        )
        .join("\n")
    : ""
}
${columns
  .filter(([column]) => ["email", "status", "updated_at"].includes(column))
  .map(([column]) => `create index on ${name} (${column});`)
  .join("\n")}
insert into ${name} select i, ${values(columns, "i")} from generate_series(1, ${rows}) i;
`

/** A write of `count` rows, the first of them `i`: a number, or a variable of a single row. */
export const write = ({ columns, name }: Table, op: Op, i: string, count = 1): string => {
  const last = `${i} + ${count - 1}`
  switch (op) {
    case "insert":
      return count === 1
        ? `insert into ${name} values (1000000 + ${i}, ${values(columns, i)})`
        : `insert into ${name} select 1000000 + i, ${values(columns, "i")} from generate_series(${i}, ${last}) i`
    case "update":
      return `update ${name} set balance = balance + 1 where id ${count === 1 ? `= 1 + (${i} * 7919::bigint) % ${rows}` : `between ${i} and ${last}`}`
    case "delete":
      return `delete from ${name} where id ${count === 1 ? `= 1000000 + ${i}` : `between 1000000 + ${i} and 1000000 + ${last}`}`
  }
}

/** Transactions of one write each, inside the server: no statement of theirs is the client's. */
export const procedures = (table: Table, context: string | undefined): string =>
  ops
    .map(
      (op) => `
create or replace procedure ${table.name}_${op}(first int, count int) language plpgsql as $$
declare
  i int;
begin
  for i in first .. first + count - 1 loop
    ${context === undefined ? "" : `${context.replace(/^select/, "perform")};`}
    ${write(table, op, "i")};
    commit;
  end loop;
end
$$;`
    )
    .join("\n")
