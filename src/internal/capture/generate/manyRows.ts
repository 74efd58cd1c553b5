/**
 * Code for a statement on several rows, set by set. It requires that the table was not altered since the code was generated.
 */
import { literal, textArray } from "../../sql/sqlText.js"
import type { Op } from "./model.js"
import {
  changeColumns,
  comparedColumns,
  differs,
  imageOf,
  keyTexts,
  masking,
  type Parts,
  redacted,
  rowKey,
  rowPk,
  settleOrder,
  target
} from "./parts.js"

/**
 * Rows up to this many bytes fit into jsonb whatever they hold: compressed values grow up to 255 times, an array of small
 * numbers six times more, and jsonb takes 256 MB.
 */
const directSize = 150_000

/** An update reads old and new rows in step: the bytes of both together at a time, and the most times. */
const stepBytes = 32 * 1024 * 1024
const mostSteps = 32
/** The bytes of one step, if all its rows were as wide as the widest. An array takes four times as much. */
const largestStep = 256 * 1024 * 1024

export const manyRows = (parts: Parts, op: Op): string => {
  const head = `    first_id := nextval('audit_changes_id_seq');
    instant := clock_timestamp();
`
  // There must be as many old rows as new ones, or they form no pairs. Then the general way takes over.
  return op === "update"
    ? `${head}${updates(parts)}
    if arrived = total then
    ${settleOrder}
      return null;
    end if;`
    : `${head}${insertsOrDeletes(parts, op)}
    ${settleOrder}
    return null;`
}

/** The image of a row of any size. `row` is cheap: it is read twice. */
const sizedImage = (parts: Parts, row: string): string =>
  `case when pg_column_size(${row}) < ${directSize} then ${imageOf(parts, row)} else image(${row}) end`

/** The texts of the key's columns as columns of a subquery, which computes each of them once. */
const keyColumnsOf = (parts: Parts, image: string): string =>
  keyTexts(parts, image)
    .map((text, index) => `, ${text} as ${keyColumn(index)}`)
    .join("")

const keyColumn = (index: number): string => `key_${index + 1}`

/** The same texts outside of the subquery. */
const keyOf = ({ shape }: Parts, alias: string): ReadonlyArray<string> =>
  shape.key.map((_, index) => `${alias}.${keyColumn(index)}`)

// "coalesce" makes a value of the row without naming it: a column may have any name.
const wholeRow = "coalesce(x.*)"

const insertsOrDeletes = (parts: Parts, op: "insert" | "delete"): string => {
  const key = keyOf(parts, "r")
  return `    insert into audit_changes (${changeColumns})
    select nextval('audit_changes_id_seq'), (select current_transaction()), instant, ${target(parts)},
      ${literal(op)}, ${rowPk(parts, key)}, ${rowKey(key)}, null, null,
      ${op === "insert" ? `null, ${redacted(parts, "r.image")}` : `${redacted(parts, "r.image")}, null`}
    from (
      select i.image${keyColumnsOf(parts, "i.image")}
      from (
        select ${sizedImage(parts, "s.source")} as image
        from (select ${wholeRow} as source from threadline_${op === "insert" ? "new" : "old"} x offset 0) s
        offset 0
      ) i
      offset 0
    ) r;`
}

/** The changes of paired images. `pairs` is the source of the pairs, `place` is their order. */
const insertUpdates = (
  parts: Parts,
  {
    now,
    pairs,
    place,
    rows,
    was
  }: {
    readonly pairs: string
    readonly was: string
    readonly now: string
    /** Old and new row, for tables with images that may hide a difference. */
    readonly rows: string
    readonly place?: string
  }
): string => {
  const columns = comparedColumns(parts)
  const { excluded } = parts.shape
  const keyNames = new Set(parts.shape.key.map((column) => column.name))
  const fieldsWhere = (different: boolean) =>
    `array_remove(array[${columns
      .map(
        (column, index) => `case when ${different ? "" : "not "}d.differ[${index + 1}] then ${literal(column.name)} end`
      )
      .join(", ")}]::text[], null)`
  const keyDiffers = columns.flatMap((column, index) => (keyNames.has(column.name) ? [`d.differ[${index + 1}]`] : []))
  const key = keyOf(parts, "p")
  const from = `p.was - p.same${excluded.length === 0 ? "" : ` - ${textArray(excluded)}`}`
  const ordered = place === undefined ? "" : "\n        order by d.place"
  const compared = `(
          select ${place === undefined ? "" : `${place}, `}${was} as was, ${now} as now${keyColumnsOf(parts, now)}${parts.hides ? `, ${rows}` : ""}, array[
            ${columns.map((column) => differs(column, was, now)).join(",\n            ")}
          ]::boolean[] as differ
          from ${pairs}
          offset 0
        ) d`
  const pair = `d.was, d.now${keyOf(parts, "d")
    .map((column) => `, ${column}`)
    .join("")}${keyDiffers.length === 0 ? "" : `, ${keyDiffers.join(" or ")} as moved`}`
  const changedPairs = parts.hides
    ? `select ${pair}, coalesce(a.alike, ${fieldsWhere(true)}) as fields,
          case when a.alike is null then ${fieldsWhere(false)}
            else array(select s from unnest(${fieldsWhere(false)}) s where s <> all (a.alike)) end as same,
          case when a.alike is not null then jsonb_build_object('alike', a.alike) end as details
        from ${compared}
        cross join lateral (
          select case
            when true = any (d.differ) then null
            else alike_fields(d.old_row, d.new_row, tg_relid, ${parts.excluded})
          end as alike
          offset 0
        ) a
        where true = any (d.differ) or a.alike is not null${ordered}`
    : `select ${pair}, ${fieldsWhere(true)} as fields, ${fieldsWhere(false)} as same
        from ${compared}
        where true = any (d.differ)${ordered}`
  return `insert into audit_changes (${changeColumns}${parts.hides ? ", details" : ""})
      select nextval('audit_changes_id_seq'), (select current_transaction()), instant, ${target(parts)},
        'update', ${rowPk(parts, key)}, ${rowKey(key)},
        ${keyDiffers.length === 0 ? "null" : `case when p.moved then nullif(${rowKey(keyTexts(parts, "p.was"))}, ${rowKey(key)}) end`},
        p.fields,
        ${masking(parts, parts.shape.masked.length === 0 ? from : `(${from})`, "p.fields")},
        ${redacted(parts, "p.now")}${parts.hides ? ",\n        p.details" : ""}
      from (
        ${changedPairs}
      ) p;`
}

const updates = (parts: Parts): string => {
  const rows = (name: string) => `unnest(array(select ${wholeRow} from threadline_${name} x offset place limit step))`
  const inStep = insertUpdates(parts, {
    pairs: `(
            select ${sizedImage(parts, "r.was")} as was, ${sizedImage(parts, "r.now")} as now${parts.hides ? ", r.was as old_row, r.now as new_row" : ""}
            from (select ${rows("old")} as was, ${rows("new")} as now) r
            offset 0
          ) i`,
    was: "i.was",
    now: "i.now",
    rows: "i.old_row, i.new_row"
  })
  const placed = (name: string) =>
    `(select row_number() over () as place, ${sizedImage(parts, "s.source")} as image${parts.hides ? ", s.source" : ""} from (select ${wholeRow} as source from threadline_${name} x offset 0) s)`
  const joined = insertUpdates(parts, {
    pairs: `${placed("old")} o\n          full join ${placed("new")} n on n.place = o.place`,
    was: "o.image",
    now: "n.image",
    rows: "o.source as old_row, n.source as new_row",
    place: "o.place"
  })
  return `    -- Old and new rows are read in step, so many at a time that their arrays stay small: no join, no sort, and
    -- the order of the statement is kept. What would take too much memory or too many passes is joined by place.
    select count(*) filter (where s.was), count(*) filter (where not s.was), sum(s.size), max(s.size)
    into total, arrived, bytes, widest
    from (
      select true as was, pg_column_size(x.*)::bigint as size from threadline_old x
      union all
      select false, pg_column_size(x.*) from threadline_new x
    ) s;
    step := ceil(total * least(1, ${stepBytes}::numeric / bytes));
    if arrived = total and bytes <= ${mostSteps * stepBytes} and step * widest <= ${largestStep} then
      place := 0;
      while place < total loop
      ${inStep}
        place := place + step;
      end loop;
    elsif arrived = total then
      ${joined}
    end if;`
}
