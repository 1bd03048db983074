// <before-after src="pair.mp4">: a video of which the upper half is before
// and the lower half after. Both are drawn from one frame, so they are always
// in step. Two ranges control it, by mouse, touch or keyboard.
class BeforeAfter extends HTMLElement {
  connectedCallback() {
    if (this.firstChild) return
    const make = (tag, values, parent = this) =>
      parent.appendChild(Object.assign(document.createElement(tag), values))
    const stage = make('div', {className: 'stage'})
    this.canvas = make('canvas', {width: 16, height: 9}, stage)
    this.canvas.setAttribute('role', 'img')
    this.canvas.setAttribute(
      'aria-label', 'The video before the edit on the left, after it on the right')
    make('span', {className: 'tag before', textContent: 'Before'}, stage)
    make('span', {className: 'tag after', textContent: 'After'}, stage)
    this.split = make('input', {
      type: 'range', min: 0, max: 1000, value: 500, className: 'split',
      ariaLabel: 'Where before ends and after begins'}, stage)
    const bar = make('div', {className: 'play'})
    this.button = make('button', {type: 'button'}, bar)
    this.time = make('input', {
      type: 'range', min: 0, max: 1000, value: 0,
      ariaLabel: 'Place in the video'}, bar)
    this.clock = make('output', {textContent: '0.0 s'}, bar)
    this.video = make('video', {
      muted: true, loop: true, playsInline: true, preload: 'auto',
      src: this.getAttribute('src')})
    const draw = () => this.draw()
    this.split.oninput = draw
    this.time.oninput = () => {
      this.video.pause()
      this.video.currentTime = this.time.value / 1000 * this.video.duration
    }
    this.button.onclick = () =>
      this.video.paused ? this.video.play() : this.video.pause()
    for (const name of ['loadeddata', 'seeked']) this.video.addEventListener(name, draw)
    for (const name of ['play', 'pause']) this.video.addEventListener(name, () => this.tell())
    this.video.addEventListener('play', () => this.follow())
    this.tell()
    if (!matchMedia('(prefers-reduced-motion: reduce)').matches)
      this.video.play().catch(() => {})
  }

  disconnectedCallback() { this.video?.pause() }

  tell() {
    this.button.textContent = this.video.paused ? '▶' : '❚❚'
    this.button.ariaLabel = this.video.paused ? 'Play' : 'Pause'
  }

  follow() {
    if (this.video.paused || !this.isConnected) return
    this.draw()
    requestAnimationFrame(() => this.follow())
  }

  draw() {
    const video = this.video, width = video.videoWidth
    const height = video.videoHeight / 2
    if (!width) return
    if (this.canvas.width !== width || this.canvas.height !== height)
      Object.assign(this.canvas, {width, height})
    const at = Math.round(width * this.split.value / 1000)
    const brush = this.canvas.getContext('2d')
    brush.drawImage(video, 0, 0, width, height, 0, 0, width, height)
    if (at < width) brush.drawImage(
      video, at, height, width - at, height, at, 0, width - at, height)
    this.style.setProperty('--at', `${this.split.value / 10}%`)
    if (video.duration) {
      if (document.activeElement !== this.time || !video.paused)
        this.time.value = 1000 * video.currentTime / video.duration
      this.clock.textContent = `${video.currentTime.toFixed(1)} s`
    }
  }
}

if (!customElements.get('before-after'))
  customElements.define('before-after', BeforeAfter)
