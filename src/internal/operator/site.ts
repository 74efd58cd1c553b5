/**
 * What every component of a page knows: where it is mounted, who looks, in which zone, and how much room there is.
 */
import { createContext } from "preact"
import { useContext } from "preact/hooks"
import type * as Actor from "../../Actor.js"
import type * as Export from "../../Export.js"
import type { Viewer } from "./access.js"
import { type Addresses, hostLink, make } from "./address.js"
import type { ColumnsByTable } from "./columnOrder.js"
import type { MasksByTable } from "./masks.js"
import { utc } from "./zone.js"

export type Theme = "light" | "dark" | undefined

/** A row as a function of the host gets it. */
export interface HostRow {
  /** As in SQL: `public.invoices`. */
  readonly table: string
  /** The key as one string. */
  readonly key: string
  /** The key by column, if it is known. */
  readonly rowPk: { readonly [column: string]: string } | null
}

/** What a label is asked of. */
export type Labelled =
  { readonly _tag: "Actor"; readonly actor: Actor.Actor } | { readonly _tag: "Row"; readonly row: HostRow }

/** The functions by which pages link back into the host. */
export interface HostLinks {
  readonly rowLink?: ((row: HostRow) => string | null | undefined) | undefined
  readonly actorLink?: ((actor: Actor.Actor) => string | null | undefined) | undefined
  readonly label?: ((thing: Labelled) => string | null | undefined) | undefined
}

/** How much of long things a page shows. A page that grew too large is made again with less. */
export interface Room {
  /** Fields of one change. */
  readonly fields: number
  /** Characters of one value. */
  readonly value: number
  /** Words and places of one structural diff. */
  readonly places: number
}

export const rooms: readonly [Room, Room, Room, Room] = [
  { fields: 40, value: 600, places: 24 },
  { fields: 10, value: 200, places: 10 },
  { fields: 5, value: 90, places: 5 },
  { fields: 2, value: 40, places: 2 }
]

/** The rooms of a page of short changes: those between them make the same page, or nearly. */
export const briefRooms: readonly [Room, Room] = [rooms[0], rooms[2]]

/** A page of a governance service that the host did not provide has no place in the navigation. */
export interface Offers {
  readonly coverage: boolean
  readonly evidence: boolean
  readonly retention: boolean
  readonly exports: boolean
  /** What files can be made of. */
  readonly formats: ReadonlyArray<Export.Format>
}

export interface Site {
  readonly to: Addresses
  /** The address of the page itself, in UTC, to come back to. */
  readonly here: string
  readonly prefix: string
  readonly zone: string
  readonly now: number
  readonly viewer: Viewer
  readonly theme: Theme
  /** Proves to a form's target that the form is of a page of ours. */
  readonly token: string
  readonly offers: Offers
  readonly room: Room
  readonly links: HostLinks
  /** Masks by table, as in SQL, and column. */
  readonly masks: MasksByTable
  readonly columns: ColumnsByTable
  readonly title: string
}

const nowhere: Site = {
  to: make(""),
  here: "/",
  prefix: "",
  zone: utc,
  now: 0,
  viewer: { actor: undefined, scope: undefined, scopeName: undefined, namedScope: undefined, may: () => false },
  theme: undefined,
  token: "",
  offers: { coverage: false, evidence: false, retention: false, exports: false, formats: [] },
  room: rooms[0],
  links: {},
  masks: new Map(),
  columns: new Map(),
  title: "Audit"
}

export const SiteContext = createContext<Site>(nowhere)

export const useSite = (): Site => useContext(SiteContext)

/** A function of the host's may throw; then there is no link and no label. */
const attempt = <A>(run: () => A): A | undefined => {
  try {
    return run()
  } catch {
    return undefined
  }
}

export const rowLinkOf = ({ links: { rowLink } }: Site, row: HostRow): string | undefined =>
  rowLink === undefined ? undefined : hostLink(attempt(() => rowLink(row)))

export const actorLinkOf = ({ links: { actorLink } }: Site, actor: Actor.Actor): string | undefined =>
  actorLink === undefined ? undefined : hostLink(attempt(() => actorLink(actor)))

export const labelOf = ({ links: { label } }: Site, thing: Labelled): string | undefined => {
  const text: unknown = label === undefined ? undefined : attempt(() => label(thing))
  return typeof text === "string" && text.trim() !== "" ? text.slice(0, 200) : undefined
}
