/**
 * Code for a statement on several rows, set by set. It requires that the table was not altered since the code was generated.
 */
import { literal, textArray } from "../../sql/sqlText.js"
import { type Code, code, listed, nothing } from "./code.js"
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
  target,
  withoutVirtual
} from "./parts.js"

/**
 * Rows up to this many bytes fit into jsonb whatever they hold: compressed values grow up to 255 times, an array of small
 * numbers six times more, and jsonb takes 256 MB.
 */
const directSize = 150_000

/** An update reads old and new rows in step: at most so many bytes of both together in one step, and at most so many steps. */
const stepBytes = 32 * 1024 * 1024
const mostSteps = 32
/** The bytes of one step, if all its rows were as wide as the widest. An array takes four times as much. */
const largestStep = 256 * 1024 * 1024

export const manyRows = (parts: Parts, op: Op): Code => code`
  first_id := nextval('audit_changes_id_seq');
  instant := clock_timestamp();
  ${op === "update" ? updates(parts) : insertsOrDeletes(parts, op)}
`

/** The image of a row of any size. `row` is read twice, so it is a column of a subquery. */
const sizedImage = (parts: Parts, row: string): string =>
  `case when pg_column_size(${row}) < ${directSize} then ${imageOf(parts, row)} else ${withoutVirtual(parts, `image(${row})`)} end`

// "coalesce" makes a value of the row without naming it: a column may have any name.
const wholeRow = "coalesce(x.*)"

const keyColumn = (index: number): string => `key_${index + 1}`

/** The texts of the key's columns as further columns of a subquery, which computes each of them once. */
const keyColumnsOf = (parts: Parts, image: string): string =>
  keyTexts(parts, image)
    .map((text, index) => `, ${text} as ${keyColumn(index)}`)
    .join("")

/** The same texts outside of the subquery. */
const keyOf = ({ shape }: Parts, alias: string): ReadonlyArray<string> =>
  shape.key.map((_, index) => `${alias}.${keyColumn(index)}`)

const insertsOrDeletes = (parts: Parts, op: "insert" | "delete"): Code => {
  const key = keyOf(parts, "r")
  return code`
    insert into audit_changes (${changeColumns})
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
    ) r;
    ${settleOrder}
    return null;
  `
}

interface Pairs {
  /** The source of the pairs. */
  readonly from: Code
  readonly was: string
  readonly now: string
  /** Old and new row, for tables with images that may hide a difference. */
  readonly rows: string
  /** The order of the pairs, if it is not that of their source. */
  readonly place?: string
}

/** The column `moved` of a select list: whether a column of the key differs. Empty if there is no key. */
const movedColumn = (parts: Parts): ReadonlyArray<string> => {
  const keyNames = new Set(parts.shape.key.map(({ name }) => name))
  const differing = comparedColumns(parts).flatMap(({ name }, index) =>
    keyNames.has(name) ? [`d.differ[${index + 1}]`] : []
  )
  return differing.length === 0 ? [] : [`${differing.join(" or ")} as moved`]
}

/** The pairs that differ, with the names of the fields that do, and of those that do not. */
const differingPairs = (parts: Parts, { from, now, place, rows, was }: Pairs): Code => {
  const columns = comparedColumns(parts)
  const fieldsThat = (compare: "differ" | "match") =>
    `array_remove(array[${columns
      .map(
        (column, index) =>
          `case when ${compare === "differ" ? "" : "not "}d.differ[${index + 1}] then ${literal(column.name)} end`
      )
      .join(", ")}]::text[], null)`
  const pair = ["d.was", "d.now", ...keyOf(parts, "d"), ...movedColumn(parts)].join(", ")
  const ordered = place === undefined ? nothing : ["order by d.place"]
  const compared = code`
    (
      select ${place === undefined ? "" : `${place}, `}${was} as was, ${now} as now${keyColumnsOf(parts, now)}${parts.hides ? `, ${rows}` : ""}, array[
        ${listed(columns.map((column) => differs(column, was, now)))}
      ]::boolean[] as differ
      from ${from}
      offset 0
    ) d
  `
  return parts.hides
    ? code`
        select ${pair}, coalesce(a.alike, ${fieldsThat("differ")}) as fields,
          case
            when a.alike is null then ${fieldsThat("match")}
            else array(select s from unnest(${fieldsThat("match")}) s where s <> all (a.alike))
          end as same,
          case when a.alike is not null then jsonb_build_object('alike', a.alike) end as details
        from ${compared}
        cross join lateral (
          select case
            when true = any (d.differ) then null
            else alike_fields(d.old_row, d.new_row, tg_relid, ${parts.excluded})
          end as alike
          offset 0
        ) a
        where true = any (d.differ) or a.alike is not null
        ${ordered}
      `
    : code`
        select ${pair}, ${fieldsThat("differ")} as fields, ${fieldsThat("match")} as same
        from ${compared}
        where true = any (d.differ)
        ${ordered}
      `
}

/** The changes of paired images. */
const insertUpdates = (parts: Parts, pairs: Pairs): Code => {
  const { excluded, masked } = parts.shape
  const key = keyOf(parts, "p")
  const from = `p.was - p.same${excluded.length === 0 ? "" : ` - ${textArray(excluded)}`}`
  const values = [
    "p.fields",
    masking(parts, masked.length === 0 ? from : `(${from})`, "p.fields"),
    redacted(parts, "p.now"),
    ...(parts.hides ? ["p.details"] : [])
  ]
  return code`
    insert into audit_changes (${changeColumns}${parts.hides ? ", details" : ""})
    select nextval('audit_changes_id_seq'), (select current_transaction()), instant, ${target(parts)},
      'update', ${rowPk(parts, key)}, ${rowKey(key)},
      ${key.length === 0 ? "null" : `case when p.moved then nullif(${rowKey(keyTexts(parts, "p.was"))}, ${rowKey(key)}) end`},
      ${listed(values)}
    from (
      ${differingPairs(parts, pairs)}
    ) p;
  `
}

const updates = (parts: Parts): Code => {
  const rows = (name: string) => `unnest(array(select ${wholeRow} from threadline_${name} x offset place limit step))`
  const inStep = insertUpdates(parts, {
    from: code`
      (
        select ${sizedImage(parts, "r.was")} as was, ${sizedImage(parts, "r.now")} as now${parts.hides ? ", r.was as old_row, r.now as new_row" : ""}
        from (select ${rows("old")} as was, ${rows("new")} as now) r
        offset 0
      ) i
    `,
    was: "i.was",
    now: "i.now",
    rows: "i.old_row, i.new_row"
  })
  const placed = (name: string) =>
    `(select row_number() over () as place, ${sizedImage(parts, "s.source")} as image${parts.hides ? ", s.source" : ""} from (select ${wholeRow} as source from threadline_${name} x offset 0) s)`
  const joined = insertUpdates(parts, {
    from: code`
      ${placed("old")} o
      full join ${placed("new")} n on n.place = o.place
    `,
    was: "o.image",
    now: "n.image",
    rows: "o.source as old_row, n.source as new_row",
    place: "o.place"
  })
  // There must be as many old rows as new ones, or they form no pairs. Then the general way takes over.
  return code`
    -- Old and new rows are read in step, so many at a time that their arrays stay small: no join, no sort, and
    -- the order of the statement is kept. What would take too much memory or too many passes is joined by place.
    select count(*) filter (where s.was), count(*) filter (where not s.was), sum(s.size), max(s.size)
    into total, arrived, bytes, widest
    from (
      select true as was, pg_column_size(x.*)::bigint as size from threadline_old x
      union all
      select false, pg_column_size(x.*) from threadline_new x
    ) s;
    step := ceil(total * least(1, ${String(stepBytes)}::numeric / bytes));
    if arrived = total and bytes <= ${String(mostSteps * stepBytes)} and step * widest <= ${String(largestStep)} then
      place := 0;
      while place < total loop
        ${inStep}
        place := place + step;
      end loop;
    elsif arrived = total then
      ${joined}
    end if;
    if arrived = total then
      ${settleOrder}
      return null;
    end if;
  `
}
