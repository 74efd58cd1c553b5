/** One value of a row. Strings are shown as they are, everything else as JSON with all digits. */
import type { VNode } from "preact"
import * as Json from "../../../Json.js"
import { type Mask, masked, maskOf, type Piece, piecesOf, type Redaction } from "../masks.js"
import { useSite } from "../site.js"
import { cut } from "../visible.js"
import { Tag } from "./Badge.js"
import { Text } from "./Text.js"

export const css = `
.v{font:var(--mono);white-space:pre-wrap;overflow-wrap:anywhere}.v.none{color:var(--ink3);font-style:italic}
`

export const Redacted = ({ changed = false }: { readonly changed?: boolean }): VNode => (
  <>
    <Tag tone="warn">masked by policy</Tag>
    {changed ? <span class="sub"> changed; neither value is stored</span> : null}
  </>
)

const counted = new Intl.NumberFormat("en")

/** The length of a value that is not shown whole. */
const Length = ({ text }: { readonly text: string }): VNode => (
  <span class="sub"> {counted.format(text.length)} characters</span>
)

const reasons: Readonly<Record<Mask, string>> = {
  "[masked]": "masked by policy",
  last4: "masked by policy, but for the end",
  hash: "hashed by policy",
  null: "null by policy"
}

/** Shows a masked value: the reason, and the stored end or hash if there is one. */
const Substitute = ({ mask, value }: { readonly mask: Mask; readonly value: Json.JsonValue | undefined }): VNode => (
  <>
    <Tag tone="warn">{reasons[mask]}</Tag>
    {mask === "null" || mask === "[masked]" || typeof value !== "string" ? null : (
      <>
        {" "}
        <span class="v">
          <Text text={value} limit={28} />
        </span>
      </>
    )}
  </>
)

const isDocument = (value: Json.JsonValue | undefined): value is Json.JsonArray | Json.JsonObject =>
  Array.isArray(value) || (value !== undefined && Json.isObject(value))

/** The pieces of a document that fit into `most` characters. */
const within = (
  pieces: ReadonlyArray<Piece>,
  most: number
): { readonly shown: ReadonlyArray<Piece>; readonly isCut: boolean } => {
  const shown: Array<Piece> = []
  let left = most
  for (const piece of pieces) {
    if (left <= 0) {
      return { shown, isCut: true }
    }
    shown.push(typeof piece === "string" ? cut(piece, left) : piece)
    left -= typeof piece === "string" ? piece.length : 20
  }
  return { shown, isCut: left < 0 }
}

/** A document with masked parts. */
const Document = ({
  most,
  redaction,
  value
}: {
  readonly value: Json.JsonValue
  readonly redaction: Redaction
  readonly most: number
}): VNode => {
  const { isCut, shown } = within(piecesOf(value, redaction), most)
  return (
    <span class="v">
      {shown.map((piece) =>
        typeof piece === "string" ? <Text text={piece} /> : <Substitute mask={piece.mask} value={piece.value} />
      )}
      {isCut ? (
        <>
          …
          <Length text={Json.stringify(value)} />
        </>
      ) : null}
    </span>
  )
}

export const Value = ({
  limit,
  mask,
  value
}: {
  /** What the policy hides in the column, or at this place in a document. */
  readonly mask?: Redaction | undefined
  readonly value: Json.JsonValue | undefined
  readonly limit?: number
}): VNode => {
  const { room } = useSite()
  const most = limit ?? room.value
  const substitute = maskOf(mask, value)
  if (substitute !== undefined) {
    return <Substitute mask={substitute} value={value} />
  }
  if (value === undefined) {
    return <span class="v none">none</span>
  }
  if (value === null) {
    return <span class="v none">null</span>
  }
  if (value === masked) {
    return <Redacted />
  }
  if (value === "") {
    return <span class="v none">empty</span>
  }
  if (mask !== undefined && mask.inside.length > 0 && isDocument(value)) {
    return <Document value={value} redaction={mask} most={most} />
  }
  const text = typeof value === "string" ? value : Json.stringify(value)
  return (
    <span class="v">
      <Text text={text} limit={most} />
      {text.length > most ? <Length text={text} /> : null}
    </span>
  )
}
