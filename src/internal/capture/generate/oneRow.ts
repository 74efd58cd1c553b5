/**
 * The change of one row from the images in `was` and `now`: what a single-row statement and a row trigger come to.
 */
import { literal, textArray } from "../../sql/sqlText.js"
import type { ColumnShape, Op } from "./model.js"
import { comparedColumns, hasNew, masking, type Parts, redacted, rowKey, rowPk, settleOrder, target } from "./parts.js"

/** True while the images hold what the code was generated for: else the change falls through to the general way. */
const isCurrent = (parts: Parts, image: string): string => {
  // A name that is new may be of a type whose text follows the session, or the new name of what is redacted.
  return [
    `${image} - ${parts.columnNames} = '{}'`,
    `${image} ?& ${parts.needed}`,
    ...(parts.inPlace === "" ? [] : [parts.inPlace])
  ].join(" and ")
}

interface Values {
  readonly fields: string
  readonly from: string
  readonly after: string
  readonly previous: string
}

const insertChange = (
  parts: Parts,
  op: Op,
  image: string,
  values: Values,
  details: string | undefined
): string => `      insert into audit_changes (
        transaction_id, captured_at, table_schema, table_name, partition_name, op, row_pk, row_key,
        previous_row_key, changed_fields, changed_from, data_after${details === undefined ? "" : ", details"}
      ) values (
        current_transaction(), clock_timestamp(), ${target(parts)}, ${literal(op)},
        ${rowPk(parts, image)}, ${rowKey(parts, image)},
        ${values.previous}, ${values.fields}, ${values.from}, ${values.after}${details === undefined ? "" : `, ${details}`}
      );
    ${settleOrder("currval('audit_changes_id_seq')")}
      return null;`

/** Collects the changed names in `fields` and their old values in `old_values`. */
const collectFields = (columns: ReadonlyArray<ColumnShape>, different: string): string =>
  columns.length === 0
    ? ""
    : `      foreach field in array ${textArray(columns.map((column) => column.name))} loop
        if ${different} then
          fields := fields || field;
          old_values := coalesce(old_values, '{}') || jsonb_build_object(field, was -> field);
        end if;
      end loop;
`

/**
 * `begin` is the `if` or `elsif` that the condition is of, `alike` a statement that sets `fields` to the fields that differ
 * although their images do not, `details` what the change has there.
 */
export const oneRow = (
  parts: Parts,
  op: Op,
  begin: string,
  { alike, details }: { readonly alike: string; readonly details?: string }
): string => {
  const image = hasNew(op) ? "now" : "was"
  const head = `${begin} ${isCurrent(parts, image)} then
`
  if (op !== "update") {
    return `${head}${insertChange(
      parts,
      op,
      image,
      {
        fields: "null",
        from: op === "delete" ? redacted(parts, "was") : "null",
        after: op === "insert" ? redacted(parts, "now") : "null",
        previous: "null"
      },
      details
    )}
  end if;`
  }
  const columns = comparedColumns(parts)
  const moved =
    parts.shape.key.length === 0
      ? "null"
      : `case when fields && ${textArray(parts.shape.key.map((column) => column.name))} then nullif(${rowKey(parts, "was")}, ${rowKey(parts, "now")}) end`
  return `${head}${collectFields(
    columns.filter(({ comparison }) => comparison !== "jsonb"),
    "was ->> field is distinct from now ->> field"
  )}${collectFields(
    columns.filter(({ comparison }) => comparison === "jsonb"),
    "(was -> field)::text is distinct from (now -> field)::text"
  )}      if fields is null then
        ${
          parts.hides
            ? `${alike}
        if fields is null then
          return null;
        end if;
        details := jsonb_build_object('alike', fields);
        select coalesce(jsonb_object_agg(f, was -> f), '{}') into old_values from unnest(fields) f;`
            : "return null;"
        }
      end if;
${insertChange(
  parts,
  op,
  image,
  {
    fields: "fields",
    from: masking(parts, "old_values", "fields"),
    after: redacted(parts, "now"),
    previous: moved
  },
  parts.hides ? "details" : details
)}
  end if;`
}
