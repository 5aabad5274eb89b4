import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";

import { IconButton } from "./icons.tsx";

interface Props {
  title: string;
  onClose: () => void;
  children: ComponentChildren;
}

/** The browser's own modal dialog: it keeps the focus, gives it back, and Escape closes it. */
export function Dialog({ title, onClose, children }: Props) {
  const element = useRef<HTMLDialogElement>(null);
  // Not after the next frame: until then it would be in the page and not open, and take no key.
  useLayoutEffect(() => {
    element.current?.showModal();
  }, []);
  const onClick = (event: MouseEvent) => {
    if (event.target === element.current) element.current?.close(); // the backdrop
  };
  return (
    <dialog ref={element} class="dialog" aria-labelledby="dialog-title" onClose={onClose} onClick={onClick}>
      <div class="dialog-body">
        <header>
          <h2 id="dialog-title">{title}</h2>
          <IconButton icon="close" label="Close" onClick={() => element.current?.close()} />
        </header>
        {children}
      </div>
    </dialog>
  );
}
