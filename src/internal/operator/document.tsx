/**
 * Renders a page as an HTML document. Its style and its script are allowed by their hashes; the renderer escapes the
 * body.
 */
import type { VNode } from "preact"
import { render } from "preact-render-to-string"
import { stylesheet } from "./design/stylesheet.js"
import { script } from "./script.js"
import { hashOf, securityHeaders } from "./securityHeaders.js"
import { type Room, rooms, type Site, SiteContext } from "./site.js"
import { visible } from "./visible.js"

/** The largest size of a page, in bytes. */
const largestPage = 60 * 1024

const styleHash = hashOf(stylesheet)
const scriptHash = hashOf(script)

const icon =
  "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cpath d='M2 8h12M8 3v10' stroke='%230a5a54' stroke-width='3' fill='none'/%3E%3C/svg%3E"

const escaped = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;")

/** Whether a style has no character that could end its element or load something. */
const isPlainStyle = (style: string): boolean => /^[\w\s.:;{}()%>-]*$/.test(style)

const html = (site: Site, body: string, style: string): string =>
  [
    `<!doctype html><html lang="en"${site.theme === undefined ? "" : ` data-theme="${site.theme}"`}><head><meta charset="utf-8">`,
    `<meta name="viewport" content="width=device-width,initial-scale=1">`,
    `<meta name="color-scheme" content="light dark">`,
    `<title>${escaped(visible(site.title))} · Threadline</title>`,
    `<link rel="icon" href="${icon}">`,
    `<style>${stylesheet}</style>`,
    style === "" ? "" : `<style>${style}</style>`,
    `</head><body>`,
    body,
    `<script>${script}</script></body></html>`
  ].join("")

export interface Document {
  readonly html: string
  readonly bytes: number
  /** False if the page is larger than `largestPage`. */
  readonly fits: boolean
  readonly headers: ReadonlyArray<readonly [string, string]>
}

const sizeOf = (page: string): number => Buffer.byteLength(page)

/** About how many bytes of a page are not its items. */
const around = 22 * 1024

const eachOf = (bytes: number, items: number): number => Math.max(1, (bytes - around) / items)

const sizes = [20, 16, 12, 8, 5, 3, 1] as const

/**
 * The largest page size whose items fit, if `items` items made a page of `bytes`. Undefined if there is nothing to
 * leave out.
 */
export const fittingSize = (bytes: number, items: number): number | undefined => {
  const fitting = (largestPage - around) / eachOf(bytes, items)
  return items <= 1 ? undefined : (sizes.find((size) => size < items && size <= fitting) ?? 1)
}

/** Up to this many bytes, an item holds no long values, so a smaller room would hardly make the page smaller. */
const plainItem = 2500

/**
 * Renders a page. If it is too large, it is rendered again with smaller rooms until it fits. If it is more than twice
 * too large, the smallest room is tried first: if even that does not fit, the others are not tried. If the page is
 * large because it lists many short items, no other room is tried, because only fewer items help.
 */
export const documentOf = (
  site: Site,
  view: () => VNode,
  style = "",
  choice: ReadonlyArray<Room> = rooms,
  items = 0
): Document => {
  const ownStyle = isPlainStyle(style) ? style : ""
  const made = (room: Room): string => {
    const here = { ...site, room }
    const body = render(<SiteContext.Provider value={here}>{view()}</SiteContext.Provider>)
    // An address may hold U+0000, which a document must not. Browsers replace it with U+FFFD, so this does too.
    return html(here, body.replaceAll("\u0000", "\uFFFD"), ownStyle)
  }
  const fits = (page: string): boolean => sizeOf(page) <= largestPage
  const [first = rooms[0], ...others] = choice
  const last = others.pop()
  let page = made(first)
  if (!fits(page) && last !== undefined && !(items > 1 && eachOf(sizeOf(page), items) <= plainItem)) {
    const least = sizeOf(page) > 2 * largestPage ? made(last) : undefined
    if (least !== undefined && !fits(least)) {
      page = least
    } else {
      for (const room of others) {
        page = made(room)
        if (fits(page)) {
          break
        }
      }
      page = fits(page) ? page : (least ?? made(last))
    }
  }
  return {
    html: page,
    bytes: sizeOf(page),
    fits: fits(page),
    headers: securityHeaders({
      styles: ownStyle === "" ? [styleHash] : [styleHash, hashOf(ownStyle)],
      scripts: [scriptHash]
    })
  }
}
