/**
 * The fields of a change, before and after. Long texts are compared word by word, JSON documents place by place. Equal
 * parts are folded. Masked values are shown as masks.
 */
import type { VNode } from "preact"
import * as Json from "../../../Json.js"
import type * as Query from "../../../Query.js"
import { many } from "../../core/words.js"
import { masked, type Masks, type Redaction } from "../masks.js"
import { useSite } from "../site.js"
import { type Segment, structuralDiff, wordDiff } from "../wordDiff.js"
import { Text } from "./Text.js"
import { isReadAsTree, JsonView } from "./JsonView.js"
import { Redacted, Value } from "./Value.js"

export const css = `
.diff{margin:0;display:grid;grid-template-columns:minmax(84px,max-content) minmax(0,1fr);gap:2px var(--s3);align-items:baseline}
.diff dt{color:var(--ink2);font:var(--mono);overflow-wrap:anywhere;max-width:22ch}.change>div>.diff dt{max-width:34ch}.diff dd{margin:0;min-width:0}
del,ins{text-decoration:none;border-radius:3px;padding:0 3px;-webkit-box-decoration-break:clone;box-decoration-break:clone}
del{background:var(--delw);color:var(--del)}ins{background:var(--addw);color:var(--add)}del .v,ins .v,.words{font:var(--mono);white-space:pre-wrap;overflow-wrap:anywhere}.words del{text-decoration:line-through 1px}del .none,ins .none{color:inherit}
mark{background:var(--wash);color:inherit;border-radius:3px;padding:0 3px}
.to{color:var(--ink3);padding:0 5px;font-style:normal}.path{color:var(--ink2);font:var(--mono)}.diff li+li{margin-top:2px}
@media(forced-colors:active){del{text-decoration:line-through}ins{text-decoration:underline}}
@media(max-width:760px){.diff{grid-template-columns:fit-content(36%) minmax(0,1fr);gap:2px var(--s2)}.diff dt{max-width:none}}
`

const Arrow = (): VNode => <i class="to">→</i>

interface Side {
  readonly value: Json.JsonValue | undefined
  readonly mask?: Redaction | undefined
}

const Before = ({ mask, value }: Side): VNode => (
  <del>
    <Value value={value} mask={mask} />
  </del>
)

const After = ({ mask, value }: Side): VNode => (
  <ins>
    <Value value={value} mask={mask} />
  </ins>
)

const Words = ({ segments }: { readonly segments: ReadonlyArray<Segment> }): VNode => (
  <span class="words">
    {segments.map(({ kind, text }) =>
      kind === "del" ? (
        <del>
          <Text text={text} />
        </del>
      ) : kind === "ins" ? (
        <ins>
          <Text text={text} />
        </ins>
      ) : kind === "fold" ? (
        <span class="dim">{text}</span>
      ) : (
        <Text text={text} />
      )
    )}
  </span>
)

const isDocument = (value: Json.JsonValue | undefined): value is Json.JsonArray | Json.JsonObject =>
  value !== undefined && (Array.isArray(value) || Json.isObject(value))

const Places = ({
  after,
  before,
  mask
}: {
  readonly before: Json.JsonValue
  readonly after: Json.JsonValue
  readonly mask: Redaction | undefined
}): VNode => {
  const { room } = useSite()
  const { equal, places } = structuralDiff(before, after, mask)
  return (
    <ul>
      {places.length === 0 && mask !== undefined ? (
        <li>
          <span class="path">
            <Text text={mask.inside.map(({ path }) => path.join(".")).join(", ")} limit={200} />
          </span>{" "}
          <Redacted changed />
        </li>
      ) : null}
      {places.slice(0, room.places).map(({ after, before, path, redaction }) => (
        <li key={path}>
          <span class="path">
            <Text text={shortPath(path)} />
          </span>{" "}
          <Pair before={before} after={after} mask={redaction} />
        </li>
      ))}
      {places.length > room.places ? <li class="sub">and {places.length - room.places} more places</li> : null}
      {equal > 0 ? <li class="sub">{many(equal, "member is equal", "members are equal")}</li> : null}
    </ul>
  )
}

/** Shortens a long path in the middle. */
const shortPath = (path: string): string => (path.length <= 120 ? path : `${path.slice(0, 48)} … ${path.slice(-64)}`)

/** Whether a text is long enough to compare word by word. */
const isLong = (text: string): boolean => text.length > 24 && /\s/.test(text)

const Pair = ({
  after,
  before,
  mask
}: {
  readonly mask?: Redaction | undefined
  readonly before: Json.JsonValue | undefined
  readonly after: Json.JsonValue | undefined
}): VNode => {
  const { room } = useSite()
  if (before === masked && after === masked) {
    return <Redacted changed />
  }
  if (mask?.whole === "null" && before === null && after === null) {
    return (
      <>
        <Value value={null} mask={mask} /> <span class="sub">changed; neither value is stored</span>
      </>
    )
  }
  if (before === undefined) {
    return (
      <>
        <After value={after} mask={mask} /> <span class="sub">added</span>
      </>
    )
  }
  if (after === undefined) {
    return (
      <>
        <Before value={before} mask={mask} /> <span class="sub">removed</span>
      </>
    )
  }
  if (isDocument(before) && isDocument(after) && Array.isArray(before) === Array.isArray(after)) {
    return <Places before={before} after={after} mask={mask} />
  }
  if (
    typeof before === "string" &&
    typeof after === "string" &&
    (isLong(before) || isLong(after)) &&
    before !== masked &&
    after !== masked
  ) {
    const segments = wordDiff(before, after, room.value)
    if (segments.some(({ kind }) => kind === "same")) {
      return <Words segments={segments} />
    }
  }
  return (
    <>
      <Before value={before} mask={mask} />
      <Arrow />
      <After value={after} mask={mask} />
    </>
  )
}

const Field = ({
  field,
  mask,
  op
}: {
  readonly field: Query.FieldDiff
  readonly op: Query.Operation
  readonly mask: Redaction | undefined
}): VNode =>
  op === "update" ? (
    <Pair before={field.before} after={field.after} mask={mask} />
  ) : isReadAsTree(op === "delete" ? field.before : field.after, mask) ? (
    <JsonView value={(op === "delete" ? field.before : field.after) ?? null} />
  ) : op === "delete" ? (
    <Before value={field.before} mask={mask} />
  ) : op === "baseline" ? (
    <Value value={field.after} mask={mask} />
  ) : (
    <After value={field.after} mask={mask} />
  )

const isNothing = (value: Json.JsonValue | undefined): boolean => value === undefined || value === null

/** The fields of a change. Null fields are only counted, unless the change is an update. */
export const Diff = ({
  fields,
  masks,
  most = Infinity,
  op
}: {
  readonly fields: ReadonlyArray<Query.FieldDiff>
  readonly op: Query.Operation
  /** Masks of the columns of the table. */
  readonly masks?: Masks | undefined
  /** The most fields to show, even if the room allows more. */
  readonly most?: number
}): VNode => {
  const { room } = useSite()
  const telling =
    op === "update"
      ? fields
      : fields.filter(
          ({ after, before, field }) => !isNothing(after) || !isNothing(before) || masks?.get(field)?.whole === "null"
        )
  const shown = telling.slice(0, Math.min(most, room.fields))
  const empty = fields.length - telling.length
  const further = telling.length - shown.length
  return (
    <dl class="diff">
      {shown.map((field) => (
        <>
          <dt>
            <Text text={field.field} limit={63} />
          </dt>
          <dd>
            <Field field={field} op={op} mask={masks?.get(field.field)} />
          </dd>
        </>
      ))}
      {further + empty > 0 ? (
        <>
          <dt class="dim">…</dt>
          <dd class="sub">
            {further > 0 ? many(further, "more field") : ""}
            {further > 0 && empty > 0 ? ", " : ""}
            {empty > 0 ? `${empty} null` : ""}
          </dd>
        </>
      ) : null}
    </dl>
  )
}
