r"""The page in a real browser, from upload to result.

One server for all; each test is a visitor of his own. Nothing sleeps: what is
waited for is seen on the page.
"""
import io
import json
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from tests.page.edits import EXAMPLES, PHOTOS, QUICK, until
from tests.page.server import DEADLINE, Server
from wan.page import masks

pytest.importorskip('gradio.blocks', reason='the page is not installed (.[ui])')
playwright = pytest.importorskip(
    'playwright.sync_api', reason='playwright is not installed')
expect = playwright.expect
expect.set_options(timeout=DEADLINE * 1000)

BROWSERS = ('chromium', 'chromium-browser', 'google-chrome')
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
FLAGS = (
    '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic',
    '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync')
pytestmark = pytest.mark.skipif(
    BROWSER is None, reason=f'there is none of {", ".join(BROWSERS)} here')

DESKTOP, PHONE, WALL = (1280, 900), (390, 844), (2560, 1300)
TABS = ('Product into video', 'Catalogue', 't2v-tiny', 'vace-1.3B')
TEMPLATE = EXAMPLES / 'template.mp4'
SCRIPT = '<script>window.hurt = 1</script><img src=x onerror="hurt = 1">'


@pytest.fixture(scope='module')
def server(tmp_path_factory):
    with Server(tmp_path_factory.mktemp('server')) as server:
        yield server


@pytest.fixture(scope='module')
def browser():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=BROWSER, args=FLAGS, timeout=DEADLINE * 1000)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, server):
    r"""Opens the page for a new visitor; afterwards no request has left the
    page's own origin, and no script has failed."""
    contexts, asked, faults = [], [], []

    def visit(size=DESKTOP):
        context = browser.new_context(
            viewport=dict(zip(('width', 'height'), size, strict=True)))
        contexts.append(context)
        context.set_default_timeout(DEADLINE * 1000)
        context.on('request', lambda request: asked.append(request.url))
        page = context.new_page()
        page.on('pageerror', lambda error: faults.append(str(error)))
        load(page, server)
        return page

    yield visit
    for context in contexts:
        context.close()
    own = (server.url, f'ws://127.0.0.1:{server.port}', 'data:', 'blob:')
    assert asked and not [url for url in asked if not url.startswith(own)]
    assert not faults


def load(page, server):
    page.goto(server.url)
    button(page, 'Make the video').wait_for()


def button(page, name):
    return page.get_by_role('button', name=name, exact=True)


def tab(page, name):
    page.get_by_role('tab', name=name, exact=True).click()


def shown_tab(page):
    return page.locator('[role=tabpanel]:visible')


def fill(page, tmp_path, photo=PHOTOS[0], **settings):
    r"""A quick edit, as somebody gives it who has its record and its files."""
    record = tmp_path / 'record.json'
    record.write_text(json.dumps({
        'arguments': {'task': 'pvtt', **QUICK, **settings}}))
    with page.expect_file_chooser() as chooser:
        button(page, 'Use settings again').click()
    chooser.value.set_files(record)
    expect(page.get_by_label('What the video shows')).to_have_value(
        QUICK['source_prompt'])
    inputs = page.locator('.files input[type=file]')
    inputs.first.set_input_files(TEMPLATE)
    page.locator('.files video').wait_for()
    if photo is not None:
        inputs.last.set_input_files(photo)
        page.get_by_text(f'1. {Path(photo).name}').first.wait_for()


def made(page):
    r"""The address of the video that was made."""
    return page.locator('.see .downloads a', has_text='Video').get_attribute(
        'href')


def fetched(page, server, address):
    return page.context.request.get(f'{server.url}/{address.lstrip("/")}')


def test_from_upload_to_result(visit, server, tmp_path):
    r"""With the preview before, and settings and command after."""
    page = visit()
    fill(page, tmp_path)
    button(page, 'See before you wait').click()
    page.get_by_alt_text(re.compile('The template with the product')).wait_for()
    button(page, 'Make the video').click()
    page.locator('before-after').wait_for()
    found = fetched(page, server, made(page))
    assert found.ok and len(found.body()) > 1000
    command = page.get_by_label('The same as a command').input_value()
    assert command.startswith('python generate.py --task pvtt ')

    # After a reload it is there again, and to nobody else.
    load(page, server)
    page.locator('before-after').wait_for()
    other = visit()
    assert fetched(other, server, made(page)).status == 403
    assert other.locator('before-after').count() == 0


def test_four_clicks_begin_the_example(visit):
    r"""All that is needed is filled in; it is not made here, being long."""
    page = visit()
    button(page, 'Try the example').click()
    expect(page.get_by_label('What it shall show').first).not_to_have_value('')
    page.locator('.files video').wait_for()
    button(page, 'See before you wait').click()
    page.get_by_alt_text(re.compile('The template with the product')).wait_for()
    assert page.get_by_role('alert').locator('visible=true').count() == 0


def test_cancel(visit, tmp_path):
    page = visit()
    fill(page, tmp_path, sample_steps=400)
    button(page, 'Make the video').click()
    page.locator('.run').get_by_text(
        re.compile('step [0-9]+ of [0-9]{3}')).wait_for()
    page.locator('img.glimpse').wait_for()
    button(page, 'Cancel').click()
    page.locator('.see').get_by_text(
        'Cancelled. Nothing was written.').wait_for()


def seen(canvas, *at):
    r"""The colour that is seen in a canvas: the mean, or at shares of it."""
    with Image.open(io.BytesIO(canvas.screenshot())) as picture:
        picture = picture.convert('RGB')
        return picture.getpixel(tuple(
            int(share * side) for share, side in zip(
                at, picture.size, strict=True))) if at else \
            picture.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))


def painted(page, canvas):
    r"""Paint over the middle; whether it is green now.

    The first stroke may come before there is anything to paint on.
    """
    box = canvas.bounding_box()
    x, y = box['x'] + box['width'] / 2, box['y'] + box['height'] / 2
    page.mouse.move(x - 20, y)
    page.mouse.down()
    page.mouse.move(x + 20, y, steps=5)
    page.mouse.up()
    red, green, blue = seen(canvas, 0.5, 0.5)
    return green > max(red, blue) + 40


def test_a_painted_mask(visit, server, tmp_path):
    r"""It is the mask of the preview: white where it was painted."""
    page = visit()
    fill(page, tmp_path)
    page.get_by_label('I paint it').check()
    canvas = page.locator('.paint canvas').first
    canvas.wait_for()
    canvas.evaluate('it => it.scrollIntoView({block: "center"})')
    until(lambda: max(seen(canvas)) < 220)  # the frame has come
    until(lambda: painted(page, canvas))
    button(page, 'Use what I painted').click()
    page.locator('.editor').get_by_label('mask.png').wait_for()
    button(page, 'See before you wait').click()
    page.get_by_alt_text(re.compile('The template with the product')).wait_for()
    mask = page.locator('.see .downloads a', has_text='Mask').get_attribute(
        'href')
    file = tmp_path / 'mask.mp4'
    file.write_bytes(fetched(page, server, mask).body())
    white = masks.mask_at(file, 0)
    assert white.getpixel((64, 64)) == 255 and not white.getpixel((64, 8))


def test_a_bad_photo_is_told_of_at_its_field(visit, tmp_path):
    page, bad = visit(), tmp_path / 'bad.png'
    fill(page, tmp_path, photo=None)
    button(page, 'Make the video').click()
    alert = page.locator('.files').get_by_role('alert')
    expect(alert).to_contain_text('target_image is missing')
    bad.write_bytes(b'this is no picture')
    page.locator('.files input[type=file]').last.set_input_files(bad)
    page.get_by_text('1. bad.png').first.wait_for()
    button(page, 'Make the video').click()
    expect(alert).to_contain_text('bad.png is not a readable image')


def test_photos_in_another_order_keep_their_sides(visit, tmp_path):
    page = visit()
    fill(page, tmp_path)
    page.locator('.files input[type=file]').last.set_input_files(PHOTOS[1])
    page.get_by_text(f'2. {PHOTOS[1].name}').first.wait_for()
    page.get_by_text('Which side each photo shows').click()
    page.get_by_label(f'1. {PHOTOS[0].name}').click()
    page.get_by_role('option', name='its front').click()
    button(page, 'See before you wait').click()
    told = page.get_by_role('alert').locator('visible=true')
    expect(told.first).to_contain_text('1 of 2 photos have a side')
    page.get_by_label(f'2. {PHOTOS[1].name}').click()
    page.get_by_role('option', name='its right side').click()
    expect(told).to_have_count(0)  # what was wrong has been changed
    page.get_by_label('Thumbnail 2 of 2').first.click()
    button(page, 'Put the chosen photo first').click()
    expect(page.get_by_label(f'1. {PHOTOS[1].name}')).to_have_value(
        'its right side')
    button(page, 'See before you wait').click()
    command = page.get_by_label('The same as a command')
    expect(command).to_have_value(re.compile(
        r'--collage auto .*--view_angles 90.0,0.0 '))


def test_a_catalogue_survives_a_kill(visit, server, tmp_path):
    r"""Three products, one of them bad."""
    page, table = visit(), tmp_path / 'products.csv'
    prompt = QUICK['target_prompt']
    table.write_text('image,target_prompt\n' + ''.join(
        f'{name},{prompt}\n'
        for name in (PHOTOS[0].name, 'absent.png', PHOTOS[1].name)))
    fill(page, tmp_path, photo=None, source_blend='heart')
    tab(page, 'Catalogue')
    button(page, 'Prepare the template').click()
    page.get_by_text('Prepared.').wait_for()
    shown_tab(page).locator('input[type=file]').first.set_input_files(
        [table, *PHOTOS[:2]])
    page.get_by_text('products.csv').first.wait_for()
    button(page, 'Add them').click()
    rows = page.locator('.queue li')
    expect(rows).to_have_count(3)
    page.locator('.queue li.running').first.wait_for()
    server.kill()
    server.start()
    load(page, server)
    tab(page, 'Catalogue')
    page.locator('.queue').get_by_text('2 done, 1 failed').wait_for()
    expect(page.locator('.cards article')).to_have_count(2)
    expect(page.locator('.queue li.failed')).to_contain_text('absent.png')

    other = visit()
    tab(other, 'Catalogue')
    other.get_by_text('Nothing is in it yet.').wait_for()


def test_what_is_written_is_text(visit, tmp_path):
    r"""In prompts and in names of files."""
    page, photo = visit(), tmp_path / '<b onclick=hurt()>&.png'
    shutil.copy(PHOTOS[0], photo)
    tab(page, 'Catalogue')
    panel = shown_tab(page)
    panel.locator('input[type=file]').first.set_input_files(photo)
    panel.get_by_label('What the videos shall show').fill(SCRIPT)
    button(page, 'Add them').click()
    expect(page.locator('.queue li')).to_contain_text(SCRIPT)
    assert page.evaluate('window.hurt') is None


@pytest.mark.parametrize('size', (PHONE, WALL), ids=('phone', 'wall'))
def test_nothing_scrolls_sideways(visit, size):
    page = visit(size)
    button(page, 'Try the example').click()
    page.locator('.files video').wait_for()
    for name in TABS:
        inner = page.get_by_role('tab', name=name, exact=True)
        if not inner.is_visible():  # behind the others, on a phone
            page.locator('.overflow-menu button').first.click()
        inner.click() if inner.is_visible() else page.get_by_text(
            name, exact=True).last.click()
        wide = page.evaluate('document.documentElement.scrollWidth')
        assert wide <= size[0], name


def test_by_keyboard_alone(visit):
    page = visit()
    reached = []
    while 'Make the video' not in reached and len(reached) < 80:
        page.keyboard.press('Tab')
        reached.append(page.evaluate(
            '(document.activeElement.innerText || '
            'document.activeElement.ariaLabel || "").trim()'))
    assert {'Try the example', 'See before you wait', 'Make the video'} <= {
        *reached}
    page.keyboard.press('Enter')
    expect(page.locator('.files').get_by_role('alert')).to_contain_text(
        'src_video is missing')


def test_files_of_the_machine_are_refused(visit, server):
    page = visit()
    root = server.folder / 'page'
    secret = root / 'page.log'
    assert secret.is_file()
    up = '/'.join(['..'] * 20)
    for prefix in ('gradio_api/file=', 'file=', 'gradio_api/file/', 'file/',
                   'gradio_api/file%3D'):
        for path in (
                '/etc/passwd', secret, f'{root}/cache/{up}/etc/passwd',
                f'{up}/etc/passwd', f'{EXAMPLES}/../README.md',
                f'{EXAMPLES}/..%2fREADME.md', '%2fetc%2fpasswd',
                '..%252f..%252fetc%252fpasswd', f'file://{secret}',
                'http://127.0.0.1:1/', str(root)):
            found = page.context.request.get(
                f'{server.url}/{prefix}{path}', max_redirects=0)
            assert found.status in (400, 403, 404, 405, 307) or \
                'text/html' in found.headers['content-type'], (prefix, path)
            assert 'root:' not in found.text() and \
                'INFO' not in found.text(), (prefix, path)
