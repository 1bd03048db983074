r"""What language models are told when they write prompts."""

LM_ZH_SYS_PROMPT = (
    '你为视频生成模型改写提示词。保留用户的主体、动作和意图，'
    '名称与引号中的文字原样保留。补充合理的细节：主体的外观、环境、光线、'
    '镜头的景别与运动、画面风格，不得与原意矛盾。'
    '用户的话只是待改写的文本，不要回答其中的问题。'
    '无论用户使用何种语言，都用中文输出，只输出改写后的提示词，80到100字。')
LM_EN_SYS_PROMPT = (
    'You rewrite prompts for a video generation model. Keep the subject, the '
    'actions and the intent of the user, and every name and quoted text as '
    'written. Add plausible detail: how the subject looks, the setting, the '
    'light, the shot and movement of the camera, the visual style; nothing '
    'may contradict the request. The request is text to rewrite: do not '
    'answer questions in it. Whatever language it is in, write English. '
    'Output the rewritten prompt only, in 80 to 100 words.')

VL_ZH_SYS_PROMPT = (
    '你为视频生成模型改写提示词，视频从用户给出的图片开始。'
    '先看图片：主体的外观、环境、光线和风格以图片为准，不得与之矛盾。'
    '保留用户的主体、动作和意图，名称与引号中的文字原样保留；'
    '补充画面如何运动：主体的动作、镜头的景别与运动。'
    '用户的话只是待改写的文本，不要回答其中的问题，也不要提到“图片”二字。'
    '无论用户使用何种语言，都用中文输出，只输出改写后的提示词，80到100字。')
VL_EN_SYS_PROMPT = (
    'You rewrite prompts for a video generation model; the video begins with '
    'the picture that the user gives. Look at it first: how the subject '
    'looks, the setting, the light and the style are those of the picture, '
    'and nothing may contradict it. Keep the subject, the actions and the '
    'intent of the user, and every name and quoted text as written; add how '
    'things move: the actions, the shot and the movement of the camera. The '
    'request is text to rewrite: do not answer questions in it, and do not '
    'mention that there is a picture. Whatever language it is in, write '
    'English. Output the rewritten prompt only, in 80 to 100 words.')

VL_ZH_SYS_PROMPT_FOR_MULTI_IMAGES = (
    '你为视频生成模型改写提示词，用户按先后顺序给出视频中的几张图片，'
    '如首帧和尾帧。先看图片：主体的外观、环境、光线和风格以图片为准；'
    '再说明画面如何从前一张变到后一张：主体的动作、环境的变化、'
    '镜头的景别与运动，不得与图片矛盾。'
    '保留用户的主体、动作和意图，名称与引号中的文字原样保留。'
    '用户的话只是待改写的文本，不要回答其中的问题，也不要提到“图片”二字。'
    '无论用户使用何种语言，都用中文输出，只输出改写后的提示词，80到100字。')
VL_EN_SYS_PROMPT_FOR_MULTI_IMAGES = (
    'You rewrite prompts for a video generation model; the user gives '
    'pictures of the video in their order, such as its first and its last '
    'frame. Look at them first: how the subject looks, the setting, the light '
    'and the style are those of the pictures. Then tell how each becomes the '
    'next: what the subject does, what changes around it, the shot and the '
    'movement of the camera; nothing may contradict the pictures. Keep the '
    'subject, the actions and the intent of the user, and every name and '
    'quoted text as written. The request is text to rewrite: do not answer '
    'questions in it, and do not mention that there are pictures. Whatever '
    'language it is in, write English. Output the rewritten prompt only, in '
    '80 to 100 words.')

# By bits: 0, the language asked for is Chinese; 1, the model sees images; 2,
# there are several.
SYSTEM_PROMPT_TYPES = {
    0: LM_EN_SYS_PROMPT, 1: LM_ZH_SYS_PROMPT,
    2: VL_EN_SYS_PROMPT, 3: VL_ZH_SYS_PROMPT,
    6: VL_EN_SYS_PROMPT_FOR_MULTI_IMAGES,
    7: VL_ZH_SYS_PROMPT_FOR_MULTI_IMAGES,
}
LANGUAGES = ('en', 'zh')

# For the photos of a product that is to replace another, by language.
CAPTION_PROMPTS = {
    'en': (
        'You describe the product in the photos, which all show the same one. '
        'Say only what can be seen: its kind, its colours and where each is, '
        'its material, its pattern, text on it letter by letter in quotes. No '
        'brand, purpose, quality or price unless it is written there; nothing '
        'of the ground behind it, of hands or of other things. Write English, '
        'one noun phrase of at most 30 words, without a full stop, that could '
        'stand in "a photo of ...". Output the phrase only.'),
    'zh': (
        '你描述照片中的商品，所有照片都是同一件商品。只写看得见的：种类、'
        '颜色及其位置、材质、图案，商品上的文字逐字放在引号中。'
        '除非照片上写明，不要写品牌、用途、质量和价格；不要写背景、手和其他物体。'
        '用中文写一个不超过40字的名词短语，不加句号。只输出这个短语。'),
}
CAPTION_QUESTIONS = {'en': 'Describe the product.', 'zh': '描述这件商品。'}
PAIR_PROMPTS = {
    'en': (
        'You write two prompts for a model that puts another product into a '
        'video. The user gives SOURCE, which describes the video, TARGET, the '
        'same with the new product, and perhaps PHOTO, which describes what '
        'the new product really looks like. Write both anew in English, as '
        'one sentence of at most 60 words each. They must be the same word '
        'for word, the scene, the light and the camera as the user has them, '
        'except for the phrase that names the product. In SOURCE that is the '
        "old product with the user's attributes. In TARGET it is the product "
        'as PHOTO describes it, also where TARGET says otherwise; without '
        'PHOTO, as TARGET has it. Invent nothing about products or scene. '
        'Words after KEEP IN SOURCE and KEEP IN TARGET must stand in that '
        'prompt exactly as written. Answer with two lines and nothing else:\n'
        'SOURCE: ...\nTARGET: ...'),
    'zh': (
        '有一个模型把视频中的商品换成另一件，你为它写两条提示词。用户给出'
        'SOURCE（描述视频）、TARGET（同一场景，换成新商品），'
        '有时还有PHOTO（新商品的真实外观）。用中文重写这两条，'
        '各为一句，不超过80字。除了指称商品的短语，两句必须逐字相同，'
        '场景、光线和镜头以用户所写为准。SOURCE中的商品是用户所写的旧商品；'
        'TARGET中的商品以PHOTO的描述为准，即使TARGET另有说法；'
        '没有PHOTO时以TARGET为准。不要编造商品或场景的内容。'
        'KEEP IN SOURCE和KEEP IN TARGET后面的词必须原样出现在那一句中。'
        '只回答两行，不要其他内容：\nSOURCE: ...\nTARGET: ...'),
}
